"""Comparing values of metrics: finite or not, better or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from ckptkit.errors import ConfigError

Mode = Literal["min", "max"]

Extremes = dict[str, tuple[float, float]]
"""The smallest and the largest finite value that each metric has had so far."""


def check_mode(policy: str, mode: str) -> None:
    """Raises ConfigError if `mode` is neither of the two."""
    if mode not in ("min", "max"):
        raise ConfigError(
            f"{policy}: mode says whether smaller or larger is better. Received: mode={mode!r}. "
            f"Expected 'min' or 'max'."
        )


def check_count(policy: str, name: str, value: object) -> None:
    """Raises ConfigError if `value` is not a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(
            f"{policy}: {name} counts something, so it is a whole number of at least 1. "
            f"Received: {name}={value!r}."
        )


def better(candidate: float, than: float, mode: Mode) -> bool:
    """Whether `candidate` improves on `than`; a value that is not finite never does."""
    if not math.isfinite(candidate):
        return False
    return candidate < than if mode == "min" else candidate > than


def is_record(value: float, extremes: tuple[float, float] | None, mode: Mode) -> bool:
    """Whether `value` is better than all before it; the first finite one is."""
    worst = math.inf if mode == "min" else -math.inf
    low, high = extremes or (worst, worst)
    return better(value, low if mode == "min" else high, mode)


def updated_extremes(
    extremes: Mapping[str, tuple[float, float]], metrics: Mapping[str, float]
) -> Extremes:
    """Returns `extremes` with the values of `metrics` included."""
    result = dict(extremes)
    for name, value in metrics.items():
        if math.isfinite(value):
            low, high = result.get(name, (value, value))
            result[name] = (min(low, value), max(high, value))
    return result


def all_finite(metrics: Mapping[str, float]) -> bool:
    """Whether no reported metric is NaN or infinite (true if none was reported)."""
    return all(math.isfinite(value) for value in metrics.values())
