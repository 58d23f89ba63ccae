"""Converts metrics to numbers only when they are read; a metric that is no number never raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ckptkit.log import logger

_MOST_NAMED = 20
"""The number of unusable metrics that one attempt logs.

There is a limit because a program may use new names in each step."""


def flattened(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return nested metrics in one dictionary, under the names that Keras gives them.

    Keras uses the innermost name, and of two equal names it keeps the one that sorts last. It
    flattens logs only at the end of an epoch, but a monitor needs the same name in the middle of
    one. The other of two equal names is kept under its whole path.

    Args:
        values: any values, or dictionaries of values, by name.

    Example:
        >>> from ckptkit.session.lazy_metrics import flattened
        >>> flattened({"loss": 1, "compile_metrics": {"accuracy": 2}})
        {'accuracy': 2, 'loss': 1}
    """
    if not any(isinstance(value, Mapping) for value in values.values()):
        return {_as_name(name): value for name, value in values.items()}
    paths: dict[str, str] = {}
    flat: dict[str, Any] = {}
    for path, value in _leaves(values, ()):
        name = path[-1]
        if name in paths:
            flat[paths[name]] = flat[name]
        flat[name], paths[name] = value, "/".join(path)
    return flat


def _leaves(
    values: Mapping[Any, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    named = [(_as_name(name), value) for name, value in values.items()]
    for name, value in sorted(named, key=lambda item: item[0]):
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _as_name(name: object) -> str:
    """Return a name without lone surrogates, because the manifest is UTF-8."""
    text = name if isinstance(name, str) else str(name)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class UnusableMetrics:
    """Logs once in an attempt each metric that is not a number, and metrics without names."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def note(self, name: str, value: object) -> None:
        """Log a metric that cannot be recorded, unless it was logged before."""
        if name in self._named or len(self._named) >= _MOST_NAMED:
            return
        self._named.add(name)
        # The value itself is not logged: it may be large, and a tensor would wait for its device.
        kind = type(value).__name__ + _shape_of(value)
        more = "; further ones are not named" if len(self._named) == _MOST_NAMED else ""
        logger.warning(
            "the metric %r is not recorded with checkpoints, and no policy can compare it: "
            "expected a number or a scalar tensor, received %s%s",
            name,
            kind,
            more,
        )

    def note_unnamed(self, metrics: object) -> None:
        """Log metrics that are no dictionary, unless some were logged before."""
        if "" not in self._named:
            self._named.add("")
            logger.warning(
                "metrics are not recorded with checkpoints, and no policy can compare them: "
                "expected numbers by name, such as metrics={'loss': 0.5}, received %s%s",
                type(metrics).__name__,
                _shape_of(metrics),
            )


def _shape_of(value: Any) -> str:
    try:
        return f" of shape {tuple(value.shape)}"
    # Most values have no shape, a tensor of unknown rank raises ValueError, and objects of the user
    # may raise any error.
    except Exception:
        return ""


class Metrics(Mapping[str, float]):
    """A mapping of metrics, whose values become floats when they are first read.

    To convert a tensor waits for its device, and most steps need no metric. A metric that is not
    one number is left out of the mapping, because a metric must never end a training.

    Args:
        values: numbers, NumPy scalars or scalar tensors, or dictionaries of these, by name.
        unusable: called with the name and the value of each metric that is not one number.
    """

    def __init__(
        self,
        values: Mapping[Any, Any] | None = None,
        unusable: Callable[[str, object], None] = lambda name, value: None,
    ) -> None:
        self._values = flattened(values or {})
        self._unusable = unusable
        self._not_numbers: set[str] = set()
        self.converted: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        if name not in self.converted:
            value = self._values[name]
            if name in self._not_numbers:
                raise KeyError(name)
            try:
                self.converted[name] = _to_float(value)
            # Any error: the value is a user's object, and its conversion may raise anything.
            except Exception as error:
                self._not_numbers.add(name)
                self._unusable(name, value)
                raise KeyError(name) from error
        return self.converted[name]

    @property
    def raw(self) -> dict[str, Any]:
        """The values as they were passed in, but not nested."""
        return self._values

    def with_more(self, values: Mapping[Any, Any]) -> Metrics:
        """Return these metrics with more added; if a name is in both, the new value counts."""
        more = flattened(values)
        merged = Metrics({**self._values, **more}, self._unusable)
        merged.converted = {
            name: value for name, value in self.converted.items() if name not in more
        }
        return merged

    def __iter__(self) -> Iterator[str]:
        # `in` converts the value, so every listed name can be read.
        return (name for name in self._values if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _to_float(value: Any) -> float:
    """Convert a scalar, or an array or tensor with a single element.

    Raises:
        Exception: If it is something else.
    """
    # NumPy deprecates the conversion of such an array, and warnings may be errors.
    if getattr(value, "ndim", 0):
        return float(np.asarray(value).item())
    return float(value)
