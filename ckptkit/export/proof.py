"""Proves an export right: compares the outputs of the checking process and the live model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from ckptkit.errors import ExportError
from ckptkit.export.check_process import CheckAnswer
from ckptkit.export.output_comparison import Tolerances
from ckptkit.export.proof_verdict import judge, may_need_a_gpu
from ckptkit.export.trace import Traced, flat_outputs, unchanged
from ckptkit.exports.export_record import Proof

_NOTE_CHARACTERS = 500


def prove(
    traced: Sequence[Traced],
    answers: Mapping[str, CheckAnswer],
    rtol: float | None,
    atol: float | None,
) -> dict[str, Proof]:
    """Compare each signature's outputs with those of the live model for the same sample.

    Args:
        traced: the endpoints.
        answers: the checking process's answers, by signature.
        rtol, atol: tolerances; None for the defaults.

    Returns:
        How each signature was verified.

    Raises:
        ExportError: If a signature differs from the live model.
    """
    proofs = {}
    with unchanged(
        [variable for each in traced for variable in each.signature.variables]
    ) as put_back:
        for each in traced:
            name = each.endpoint.name
            try:
                proofs[name] = _prove(
                    each, answers[name], Tolerances.of(rtol, atol, half=each.half), put_back
                )
            except ExportError as error:
                raise ExportError(f"signature {name!r}: {error}") from error
    return proofs


def _prove(
    traced: Traced, answer: CheckAnswer, tolerances: Tolerances, put_back: Callable[[], None]
) -> Proof:
    live = _called(traced, put_back)
    if answer.error is not None:
        if may_need_a_gpu(on_gpu=_has_gpu(), said=answer.error[1]):
            note = (
                "it has an operation that runs on a GPU only, and the check has none: "
                f"{': '.join(answer.error)}"
            )
            return Proof(how="unproven", note=note[:_NOTE_CHARACTERS])
        raise ExportError(f"it fails in a fresh process: {': '.join(answer.error)}")
    exported = arrays(answer.outputs)
    return judge(
        live,
        exported,
        tolerances,
        again=lambda: _called(traced, put_back),
        graph=lambda: _graph(traced, put_back),
    )


def arrays(tensors: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    """Convert tensors to arrays."""
    return {name: np.asarray(tensor.numpy()) for name, tensor in tensors.items()}


def _called(traced: Traced, put_back: Callable[[], None]) -> dict[str, np.ndarray]:
    try:
        return arrays(flat_outputs(traced.endpoint.live(*traced.arguments)))
    except Exception as error:
        raise ExportError(f"the live model itself fails on the sample: {error}") from error
    finally:
        put_back()


def _graph(traced: Traced, put_back: Callable[[], None]) -> dict[str, np.ndarray]:
    try:
        return arrays(traced.signature(**traced.sample))
    finally:
        put_back()


def _has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))
