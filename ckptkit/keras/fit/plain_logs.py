"""Converts the logs of Keras' train and test functions to plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ckptkit.session.lazy_metrics import flattened


def named_logs(logs: Any) -> dict[str, Any]:
    """Return the result of a train or test function as a flat dictionary of logs.

    Tensors stay tensors, because a conversion waits for the step that computes them.

    Args:
        logs: the result; a custom train step may return nested dictionaries, or nothing.
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
        # A log must not end a training. Lists of unequal lengths and objects of the user may raise
        # here.
        with suppress(Exception):
            array = np.asarray(value)
            # bfloat16 is not a NumPy type: its kind is "V", and it cannot be written as JSON.
            if array.dtype.name == "bfloat16":
                array = array.astype(np.float32)
            if array.dtype.kind in "biuf":
                plain[name] = array if array.ndim else float(array)
    return plain


def not_finite(logs: Mapping[str, Any]) -> list[str]:
    """Return `name=value` for a loss that is not finite; without a loss, for all such metrics."""
    plain = plain_logs(logs)
    judged = {"loss": plain["loss"]} if "loss" in plain else plain
    return [f"{name}={value}" for name, value in judged.items() if not np.isfinite(value).all()]
