"""Metrics that are converted to numbers only when they are needed. They never end a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ckptkit.log import logger

_MOST_NAMED = 20
"""How many unusable metrics are logged in one attempt. A program may make up names in each step."""


def flattened(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return metrics of nested dictionaries in one dictionary, under the names that Keras gives.

    Keras uses the innermost name alone, and of two equal names it keeps the one that sorts last.
    A monitor must have the same name in the middle of an epoch as at its end, where Keras has
    flattened the logs already. The other of two equal names is kept under its whole path.

    Args:
        values: numbers, tensors, anything, or dictionaries of these, by name.

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
    """Return a name that the manifest can hold: its JSON is UTF-8, which has no lone surrogates."""
    text = name if isinstance(name, str) else str(name)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class UnusableMetrics:
    """Logs each metric that is not a number, once in an attempt."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def note(self, name: str, value: object) -> None:
        """Log a metric that cannot be recorded, unless it was logged before."""
        if name in self._named or len(self._named) >= _MOST_NAMED:
            return
        self._named.add(name)
        # Not the value itself: it may be large, and the text of a tensor waits for the device.
        kind = type(value).__name__ + _shape_of(value)
        more = "; further ones are not named" if len(self._named) == _MOST_NAMED else ""
        logger.warning(
            "the metric %r is not recorded with checkpoints, and no policy can compare it: "
            "expected a number or a scalar tensor, received %s%s",
            name,
            kind,
            more,
        )


def _shape_of(value: Any) -> str:
    try:
        return f" of shape {tuple(value.shape)}"
    # Most values have none, one of unknown rank is a ValueError, and objects of the user's own may
    # raise whatever they like.
    except Exception:
        return ""


class Metrics(Mapping[str, float]):
    """Metrics by name. A value is converted to a float when it is first read.

    Converting a tensor waits for its device, and most steps need no metric. A metric that is not
    one number is missing from the mapping: metrics are best effort, and none may end a training.

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
            # Any error: the value is the user's own, and its conversion may raise what it likes.
            except Exception as error:
                self._not_numbers.add(name)
                self._unusable(name, value)
                raise KeyError(name) from error
        return self.converted[name]

    @property
    def raw(self) -> dict[str, Any]:
        """The values as they were given, without nesting."""
        return self._values

    def with_more(self, values: Mapping[Any, Any]) -> Metrics:
        """Return these and more; if a name has two values, the new one counts."""
        more = flattened(values)
        merged = Metrics({**self._values, **more}, self._unusable)
        merged.converted = {
            name: value for name, value in self.converted.items() if name not in more
        }
        return merged

    def __iter__(self) -> Iterator[str]:
        # `in` converts: what is listed here can be read.
        return (name for name in self._values if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _to_float(value: Any) -> float:
    """Convert a scalar, or an array or tensor with a single element.

    Raises:
        Exception: If it is something else.
    """
    # NumPy's own conversion of such an array is deprecated, and warnings may be errors.
    if getattr(value, "ndim", 0):
        return float(np.asarray(value).item())
    return float(value)
