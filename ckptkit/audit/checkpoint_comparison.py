"""Compares two checkpoints; imports TensorFlow only if their bytes differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ckptkit.audit.bit_comparison import (
    BitComparison,
    BitDifference,
    different_arrays,
    different_python,
)
from ckptkit.load.cpu_only import hide_gpus
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import Manifest, from_numbers
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.run.verify import verify

_OPAQUE = "variant"
"""TensorFlow's type for the state of an iterator. Its buffers depend on timing, so it is not
compared."""


def compare(one: Checkpoint, other: Checkpoint) -> BitComparison:
    """Compare variables, tables, Python state, position and metrics of two checkpoints, bit by bit.

    Raises:
        CorruptCheckpointError: If a checkpoint cannot be read.
        StorageError: If the disk refuses.
    """
    verify(one), verify(other)
    compared = BitComparison()
    left, right = (_entries(checkpoint.manifest) for checkpoint in (one, other))
    for key in [*left, *(key for key in right if key not in left)]:
        _count(compared, left.get(key, right.get(key)), key)
    if not _same_bytes(one.manifest, other.manifest):
        compared.differences += _tensors(one, other, left, right)
    compared.differences += _positions(one.manifest, other.manifest) + _metrics(
        one.manifest, other.manifest
    )
    return compared


def _entries(manifest: Manifest) -> dict[str, TensorEntry]:
    return {entry.key: entry for entry in manifest.tensors}


def _count(compared: BitComparison, entry: TensorEntry | None, key: str) -> None:
    if entry is None:
        return
    if entry.dtype == _OPAQUE:
        compared.not_compared.append(
            f"{entry.path or key}: the buffers of an iterator, which depend on timing; the effect "
            f"of its batches is in the variables"
        )
    elif entry.kind == "python":
        compared.python += "/arrays/" not in key
    else:
        compared.variables += 1
        compared.values += math.prod(size or 0 for size in entry.shape or ())


def _same_bytes(one: Manifest, other: Manifest) -> bool:
    return [(file.name, file.digest) for file in one.files] == [
        (file.name, file.digest) for file in other.files
    ]


def _tensors(
    one: Checkpoint, other: Checkpoint, left: dict[str, TensorEntry], right: dict[str, TensorEntry]
) -> list[BitDifference]:
    found: list[BitDifference] = []
    for key in [*left, *(key for key in right if key not in left)]:
        entry = left.get(key) or right[key]
        if entry.dtype == _OPAQUE:
            continue
        if key not in left or key not in right:
            training = "interrupted" if key in right else "uninterrupted"
            words = f"exists only in the {training} training"
            found.append(BitDifference(name=key, path=entry.path, kind="missing", words=words))
            continue
        [a], [b] = _read(one, [left[key]]), _read(other, [right[key]])
        if entry.kind == "python" and "/arrays/" not in key:
            found += different_python(key, entry.path, a, b)
        elif (difference := different_arrays(key, entry.path, entry.kind, a, b)) is not None:
            found.append(difference)
    return found


def _read(checkpoint: Checkpoint, entries: Sequence[TensorEntry]) -> list[Any]:
    hide_gpus()
    from ckptkit.bundle import tensor_bundle

    return [tensor.numpy() for tensor in tensor_bundle.read_tensors(checkpoint.prefix, entries)]


def _positions(one: Manifest, other: Manifest) -> list[BitDifference]:
    left, right = ((each.step, each.epoch, each.batch) for each in (one, other))
    if left == right:
        return []
    return [
        BitDifference(
            name="position",
            path="",
            kind="position",
            words=f"step, epoch and batch {left} and {right}",
        )
    ]


def _metrics(one: Manifest, other: Manifest) -> list[BitDifference]:
    left, right = (from_numbers(each.metrics) for each in (one, other))
    pairs = {name: (left.get(name), right.get(name)) for name in [*left, *right]}
    return [
        BitDifference(name=f"metrics/{name}", path=name, kind="metric", words=f"{a!r} and {b!r}")
        for name, (a, b) in pairs.items()
        if repr(a) != repr(b)
    ]
