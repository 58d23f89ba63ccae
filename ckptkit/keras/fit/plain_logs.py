"""The logs that Keras' train and test functions return."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ckptkit.session.lazy_metrics import flattened


def named_logs(logs: Any) -> dict[str, Any]:
    """Return what a train or test function has returned as logs by name, without nesting.

    Tensors stay tensors: converting one waits for the step that computes it.

    Args:
        logs: what a train step of the user's own may return: nested dictionaries too, or nothing.
    """
    return flattened(logs) if isinstance(logs, Mapping) else {}


def plain_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Convert logs to Python numbers, or to arrays for metrics with several values.

    Args:
        logs: tensors, arrays or numbers by name.

    Returns:
        The same names, without the values that are not numbers.
    """
    plain: dict[str, Any] = {}
    for name, value in flattened(logs).items():
        # A log must not end a training. Lists of unequal lengths and objects of the user's own
        # raise here.
        with suppress(Exception):
            array = np.asarray(value)
            # NumPy has no bfloat16 of its own: its kind is "V", and JSON could not hold it.
            if array.dtype.name == "bfloat16":
                array = array.astype(np.float32)
            if array.dtype.kind in "biuf":
                plain[name] = array if array.ndim else float(array)
    return plain


def not_finite(logs: Mapping[str, Any]) -> list[str]:
    """Return `name=value` of a loss that is not finite; without a loss, of all such metrics."""
    plain = plain_logs(logs)
    judged = {"loss": plain["loss"]} if "loss" in plain else plain
    return [f"{name}={value}" for name, value in judged.items() if not np.isfinite(value).all()]
