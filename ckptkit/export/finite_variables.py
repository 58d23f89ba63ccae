"""Checks that a live model is finite before it is published."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from ckptkit.errors import ExportError
from ckptkit.run.manifest import WEIGHTS
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.tracking.snapshot import is_bad

_MOST_NAMED = 4


def check_finite_variables(variables: Iterable[tf.Variable]) -> None:
    """Check that variables have no NaN, and no infinity if they are trained.

    Raises:
        ExportError: If one of them has.
    """
    bad = [variable.name.removesuffix(":0") for variable in variables if _is_bad(variable)]
    if bad:
        raise ExportError(
            "expected finite weights to publish. Received: NaN or infinity in "
            f"{', '.join(bad[:_MOST_NAMED])}{', ...' if len(bad) > _MOST_NAMED else ''}. To "
            "publish them anyway, pass allow_nan=True."
        )


def _is_bad(variable: tf.Variable) -> bool:
    entry = TensorEntry(
        key=f"model/{WEIGHTS}/0",
        kind="variable",
        path=variable.name,
        shape=None,
        dtype=variable.dtype.name,
        trainable=variable.trainable,
    )
    try:
        return is_bad(variable.numpy(), entry)
    except TypeError:  # a type that NumPy cannot check
        return False
