"""Finding weights that are NaN or infinite in a snapshot, on the writer's thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptkit.run.manifest import OPTIMIZER, RESULT, WEIGHTS, TensorEntry
from ckptkit.tracking.snapshot import Snapshot

_MOST_NAMED = 4
_CHUNK = 1 << 20


def not_finite(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the paths of weights and optimizer variables that training cannot continue from.

    Args:
        snapshot: the values that are about to be written.

    Returns:
        The first few; empty if all values are finite.
    """
    found: list[str] = []
    for entry, tensor in snapshot.tensors.values():
        if len(found) == _MOST_NAMED:
            break
        if entry.kind == "variable" and entry.role in (WEIGHTS, RESULT, OPTIMIZER):
            # A type that NumPy cannot judge is no reason to lose a save.
            try:
                bad = is_bad(tensor.numpy(), entry)
            except Exception:
                continue
            if bad:
                found.append(entry.path)
    return tuple(found)


def is_bad(values: Any, entry: TensorEntry) -> bool:
    """Return whether values are not finite.

    Infinity counts only in what is trained: a constant weight, such as a mask, may have it.

    Args:
        values: an array.
        entry: describes it.
    """
    if values.dtype.kind in "biuSUO":
        return False
    judge = np.isfinite if entry.trainable else lambda part: ~np.isnan(part)
    flat = values.reshape(-1)
    # In parts, because the result of the comparison takes memory too.
    return not all(
        judge(flat[start : start + _CHUNK]).all() for start in range(0, flat.size, _CHUNK)
    )
