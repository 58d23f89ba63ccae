"""Saves and restores what batches depend on: random states, variables, attributes of the data.

A `map` with random layers changes the seeds of these layers. A function may read a variable that a
callback changes, and a callback may set attributes of a `PyDataset`. TensorFlow saves none of this
with an iterator. So data that is read again needs the earlier values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import tensorflow as tf

from ckptkit.compat import tf_captures, tf_data
from ckptkit.data.data_attributes import DataAttributes
from ckptkit.tracking.python_state import program_random, set_program_random

_LARGEST_BYTES = 1 << 20
"""The largest size of a variable whose value is kept for each epoch.

A larger variable contains weights, for example of a teacher model, which change only in its own
training.
"""

_BEFORE_FILLING: WeakKeyDictionary[Any, dict[int, np.ndarray[Any, Any]]] = WeakKeyDictionary()
"""For each stage with `cache()`, the values of variables with which this process fills it.

The cache belongs to the dataset, so normally the first `fit` fills it and a second one reads it. If
the first `fit` is finished and skipped, the second one has to fill the cache with these values.
"""

_FILLED: WeakSet[Any] = WeakSet()
"""The stages with `cache()` that were filled for a `fit` that is finished and skipped.

Reading from them again draws nothing, so the variables stay as filling has left them.
"""


@dataclass
class _Used:
    """A variable that functions of the data use.

    Args:
        variable: the `tf.Variable`.
        is_written: whether reading data changes it.
        cache: the stage that caches all results of the variable, or None.
    """

    variable: Any
    is_written: bool
    cache: Any

    @property
    def is_small(self) -> bool:
        shape = self.variable.shape
        size = shape.num_elements() if shape.rank is not None else None
        return size is not None and size * self.variable.dtype.size <= _LARGEST_BYTES


class DrawingState:
    """The state on which the batches depend, in addition to the data itself.

    Args:
        sources: the sources of data: tf.data datasets, and objects whose attributes count.
    """

    def __init__(self, sources: Iterable[Any]) -> None:
        sources = list(sources)
        self._used = _variables_of(each for each in sources if isinstance(each, tf.data.Dataset))
        self._attributes = [
            DataAttributes(each) for each in sources if not isinstance(each, tf.data.Dataset)
        ]
        for used in self._used:
            if used.cache is not None:
                values = _BEFORE_FILLING.setdefault(used.cache, {})
                values.setdefault(id(used.variable), used.variable.numpy())

    @property
    def is_empty(self) -> bool:
        """Whether the batches depend on nothing but the data."""
        return not self._used and not self._attributes

    # -- before a pass

    def at_beginning(self) -> dict[str, Any]:
        """Return the state at the beginning of the data, as plain values and arrays."""
        return self._with_random(
            lambda used: (
                used.variable.numpy()
                if used.cache is None
                else _BEFORE_FILLING[used.cache][id(used.variable)]
            )
        )

    def at_epoch(self) -> dict[str, Any]:
        """Return the state at the beginning of an epoch; the first epoch fills a cache."""
        return self._with_random(lambda used: used.variable.numpy() if used.cache is None else None)

    def _with_random(self, read: Callable[[_Used], Any]) -> dict[str, Any]:
        return {
            **program_random(),
            "variables": [read(used) if used.is_small else None for used in self._used],
            "attributes": [each.get() for each in self._attributes],
        }

    def set_beginning(
        self, state: Mapping[str, Any], *, random: bool = True, only_written: bool = False
    ) -> None:
        """Set the state from which the data is read again.

        Args:
            state: the result of `at_beginning`.
            random: whether to also set the program's random states.
            only_written: whether to keep variables that reading data does not change.
        """
        values = state.get("variables", [])
        for used, value in zip(self._used, values, strict=False):
            if used.cache is not None and value is not None:
                _BEFORE_FILLING[used.cache][id(used.variable)] = value
        self._set(
            state,
            random=random,
            but=lambda used: (only_written and not used.is_written) or used.cache in _FILLED,
        )

    def note_filled(self) -> None:
        """Note that the caches of the data are filled, for a `fit` that is skipped."""
        _FILLED.update(used.cache for used in self._used if used.cache is not None)

    def set_epoch(self, state: Mapping[str, Any], *, drawn: bool = True) -> None:
        """Set the state of the beginning of an epoch.

        Args:
            state: the result of `at_epoch`.
            drawn: whether to also set variables and attributes that reading data changes.
        """
        self._set(
            state,
            random=drawn,
            but=lambda used: used.is_written and not drawn,
            drawn_attributes=drawn,
        )

    def _set(
        self,
        state: Mapping[str, Any],
        *,
        random: bool,
        but: Callable[[_Used], bool] = lambda used: False,
        drawn_attributes: bool = True,
    ) -> None:
        if random:
            set_program_random(state)
        self._assign(state.get("variables", []), but)
        for each, values in zip(self._attributes, state.get("attributes", []), strict=False):
            each.set(values, drawn=drawn_attributes)

    # -- in the middle of a pass

    def now(self) -> dict[str, Any]:
        """Return the current values of all variables and attributes."""
        return {
            "variables": [used.variable.numpy() for used in self._used],
            "attributes": [each.get() for each in self._attributes],
        }

    def set_now(self, state: Mapping[str, Any], *, drawn_again: bool) -> None:
        """Set the values of a position, after the data was read up to it.

        Args:
            state: the result of `now`.
            drawn_again: whether the data was read again up to the position. Then everything that
                reading changes is already right, and a thread of tf.data may be ahead of training.
        """
        self._assign(
            state.get("variables", []),
            lambda used: used.cache is not None or (used.is_written and drawn_again),
        )
        for each, values in zip(self._attributes, state.get("attributes", []), strict=False):
            each.set(values, drawn=not drawn_again)

    def _assign(self, values: list[Any], but: Callable[[_Used], bool]) -> None:
        """Assign values to variables, except those for which `but` returns True."""
        # Different variables mean a different pipeline, which the comparison of pipelines reports.
        if len(values) != len(self._used) or not all(
            value is None or used.variable.shape.is_compatible_with(value.shape)
            for used, value in zip(self._used, values, strict=True)
        ):
            return
        for used, value in zip(self._used, values, strict=True):
            if value is not None and not but(used):
                used.variable.assign(value)


def _variables_of(datasets: Iterable[Any]) -> list[_Used]:
    """Return the variables that the functions of pipelines use, each once."""
    found: dict[int, _Used] = {}
    for dataset in datasets:
        for each in tf_data.functions_of(dataset):
            for capture in tf_captures.captures_of(each.function):
                used = found.setdefault(
                    id(capture.variable), _Used(capture.variable, False, each.cache)
                )
                used.is_written = used.is_written or capture.is_written
                if each.cache is not used.cache:
                    used.cache = None
    return list(found.values())
