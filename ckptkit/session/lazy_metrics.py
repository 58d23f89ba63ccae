"""Metrics that are converted to numbers only when they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.errors import ConfigError


class Several:
    """A metric with several values, such as the F1 score of each class.

    Args:
        value: the values as they were reported.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


class Metrics(Mapping[str, float]):
    """Metrics by name. A value is converted to a float when it is first read.

    Converting a tensor waits for its device, and most steps need no metric. A metric that is
    `Several` is left out of the mapping, and reading it by name is an error.

    Args:
        values: numbers, NumPy scalars or scalar tensors, or `Several`.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})
        self.converted: dict[str, float] = {}

    def __getitem__(self, name: str) -> float:
        if name not in self.converted:
            value = self._values[name]
            try:
                self.converted[name] = float(value)
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    f"The metric {name!r} is not one number. Expected a number or a scalar tensor. "
                    f"Received: {value!r}."
                ) from error
        return self.converted[name]

    @property
    def raw(self) -> dict[str, Any]:
        """The values as they were given."""
        return self._values

    def with_more(self, values: Mapping[str, Any]) -> Metrics:
        """Return these and more; if a name has two values, the new one counts."""
        merged = Metrics({**self._values, **values})
        merged.converted = {
            name: value for name, value in self.converted.items() if name not in values
        }
        return merged

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._values.items() if not isinstance(value, Several))

    def __len__(self) -> int:
        return sum(1 for _ in self)
