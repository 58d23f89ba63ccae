"""Decides whether the outputs of an export and of the live model prove it right. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ckptkit.errors import ExportError
from ckptkit.export.output_comparison import Arrays, Comparison, Tolerances, compare
from ckptkit.exports.export_record import Proof

_NO_KERNEL = re.compile(
    r"No OpKernel was registered to support Op .*device='GPU'"
    r"|(?:only supports? .* on|is not supported on|not supported .* on) (?:the |device type )?CPU",
    re.DOTALL,
)
"""TensorFlow's messages about an operation that exists but does not run on a CPU."""


def may_need_a_gpu(*, on_gpu: bool, said: str) -> bool:
    """Return whether an export that fails without a GPU may still be right.

    It may if the live model has a GPU and TensorFlow reports a missing kernel. To run the live
    model on a CPU would prove nothing, because TensorFlow places each operation on a device that
    has its kernel.
    """
    return on_gpu and _NO_KERNEL.search(said) is not None


def judge(
    live: Arrays,
    exported: Arrays,
    tolerances: Tolerances,
    *,
    again: Callable[[], Arrays],
    graph: Callable[[], Arrays],
) -> Proof:
    """Return the proof that follows from the outputs of the live model and the export.

    Args:
        live: the live model's outputs.
        exported: the export's outputs.
        tolerances: the allowed difference.
        again: calls the live model once more.
        graph: runs the live model's graph, which may compute in another order than a direct call.

    Raises:
        ExportError: If the export gives other values.
    """
    found = compare(live, exported, tolerances)
    if found.equal:
        return Proof(how="equal_bits")
    if compare(live, again(), tolerances).problem:
        return _only_runs(live, exported)
    if found.problem:
        raise ExportError(found.problem)
    if compare(graph(), exported, tolerances).equal:
        return Proof(
            how="equal_bits",
            largest_difference=0.0,
            note="of the live graph; the same without a graph differs by up to "
            f"{found.largest_difference:.3g}",
        )
    return Proof(
        how="within_tolerances",
        largest_difference=found.largest_difference,
        rtol=tolerances.rtol,
        atol=tolerances.atol,
    )


def _only_runs(live: Arrays, exported: Arrays) -> Proof:
    """Return the proof for a model that returns different values at each call."""
    for name, value in live.items():
        other = exported.get(name)
        found = (
            Comparison(False, 0.0, "is missing")
            if other is None
            else compare(
                {name: np.zeros_like(value)}, {name: np.zeros_like(other)}, Tolerances(0, 0)
            )
        )
        if found.problem:
            raise ExportError(found.problem)
        if (
            other is not None
            and value.dtype.kind in "fc"
            and np.isfinite(value).all()
            and not np.isfinite(other).all()
        ):
            raise ExportError(f"output {name!r} is not finite, but the live model's is")
    return Proof(
        how="runs",
        note="the live model returns different values at each call, so values were not compared",
    )
