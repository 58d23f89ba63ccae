"""Compares values of metrics: which are finite, which are better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from ckptkit.errors import ConfigError
from ckptkit.position import whole_number

Mode = Literal["min", "max"]

Extremes = dict[str, tuple[float, float]]
"""The smallest and the largest finite value that each metric has had so far."""


def check_count(policy: object, name: str) -> None:
    """Check that an argument of a policy is a whole number of at least 1; store it as an `int`.

    Args:
        policy: the policy, a frozen dataclass with the argument as an attribute.
        name: the name of the argument.

    Raises:
        ConfigError: If the argument is invalid.
    """
    value = getattr(policy, name)
    number = whole_number(value)
    if number is not None and number >= 1:
        object.__setattr__(policy, name, number)
    else:
        raise ConfigError(
            f"{type(policy).__name__}: {name} is a whole number of at least 1. Received: "
            f"{name}={value!r}."
        )


def no_truth_value(policy: object) -> ConfigError:
    """Return the error for a policy that is used as a condition, for example with `or`."""
    return ConfigError(
        f"Expected policies combined with |. Received: {policy!r} as a condition, as in `a or b`, "
        f"`a and b` or `if a`. Write a | b; to check whether a policy was given, write `policy is "
        f"not None`."
    )


def better(candidate: float, than: float, mode: Mode) -> bool:
    """Return whether `candidate` is better than `than`; a value that is not finite never is."""
    if not math.isfinite(candidate):
        return False
    return candidate < than if mode == "min" else candidate > than


def is_record(value: float, extremes: tuple[float, float] | None, mode: Mode) -> bool:
    """Return whether `value` is better than all earlier ones; the first finite value is."""
    worst = math.inf if mode == "min" else -math.inf
    low, high = extremes or (worst, worst)
    return better(value, low if mode == "min" else high, mode)


def updated_extremes(
    extremes: Mapping[str, tuple[float, float]], metrics: Mapping[str, float]
) -> Extremes:
    """Return `extremes` with the values of `metrics` included."""
    result = dict(extremes)
    for name, value in metrics.items():
        if math.isfinite(value):
            low, high = result.get(name, (value, value))
            result[name] = (min(low, value), max(high, value))
    return result


def all_finite(metrics: Mapping[str, float]) -> bool:
    """Return whether no metric is NaN or infinite; true if there are no metrics."""
    return all(math.isfinite(value) for value in metrics.values())
