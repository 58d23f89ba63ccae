"""The logs that Keras' train and test functions return: as plain numbers, and as metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ckptkit.session.lazy_metrics import Several


def plain_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Convert logs to Python numbers, or to arrays for metrics with several values.

    Args:
        logs: tensors, arrays or numbers by name.

    Returns:
        The same names, without the values that are not numbers.
    """
    arrays = {name: np.asarray(value) for name, value in logs.items()}
    # NumPy has no bfloat16 of its own: its kind is "V", and JSON could not hold it.
    arrays = {
        name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        for name, array in arrays.items()
    }
    return {
        name: array if array.ndim else float(array)
        for name, array in arrays.items()
        if array.dtype.kind in "biuf"
    }


def as_metrics(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return logs in the form that policies and manifests take.

    Tensors stay tensors: converting one waits for the step that computes it, so that is left to
    the save that needs the number.
    """
    return {name: Several(value) if np.ndim(value) else value for name, value in logs.items()}


def not_finite(logs: Mapping[str, Any]) -> list[str]:
    """Return `name=value` of a loss that is not finite; without a loss, of all such metrics."""
    plain = plain_logs(logs)
    judged = {"loss": plain["loss"]} if "loss" in plain else plain
    return [f"{name}={value}" for name, value in judged.items() if not np.isfinite(value).all()]
