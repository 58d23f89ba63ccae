"""Whether the things with values that were found in the state are still all that there are, without
looking for them again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import object_attributes, tf_checkpoint
from ckptkit.tracking.walk import follows_attributes, may_lead_on, visit


class Structure:
    """What leads to what, at one moment: every object that leads on, and to which objects.

    Looking for everything takes milliseconds for a model and a quarter of a second for ten thousand
    variables; asking whether something has changed takes a fraction of that.

    Args:
        roots: where to begin.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        # What was found is held here, so that no new object can have the identity of an old one.
        self._found = [value for root in roots for _, value in visit(root)]
        self._dicts: list[dict[Any, Any]] = []
        self._sequences: list[Any] = []
        self._sets: list[Any] = []
        self._slotted: list[Any] = []
        self._trackables: list[Any] = []
        self._without_value: list[Any] = []
        for value in self._found:
            self._note(value)
        self._then = self._now()

    def _note(self, value: Any) -> None:
        if isinstance(value, keras.Variable | tf.Variable):
            if isinstance(value, keras.Variable) and tf_checkpoint.uninitialized(value):
                self._without_value.append(value)
        elif isinstance(value, dict):
            self._dicts.append(value)
        elif isinstance(value, list | tuple | deque):
            self._sequences.append(value)
        elif isinstance(value, set | frozenset):
            self._sets.append(value)
        elif follows_attributes(value):
            own = getattr(value, "__dict__", None)
            if own is not None:
                self._dicts.append(own)
            if object_attributes.slots_of(type(value)):
                self._slotted.append(value)
            if isinstance(value, tf.train.Checkpoint):
                self._trackables.append(value)
        elif tf_checkpoint.is_trackable(value):
            self._trackables.append(value)

    def unchanged(self) -> bool:
        """Whether everything leads to the same objects as when this was made."""
        return self._now() == self._then

    def _now(self) -> tuple[list[int], ...]:
        leads, skipped = may_lead_on, object_attributes.NOT_FOLLOWED
        return (
            [
                id(item)
                for each in self._dicts
                for name, item in each.items()
                if leads[type(item)] and name not in skipped
            ],
            [id(item) for each in self._sequences for item in each if leads[type(item)]],
            [len(each) for each in self._sequences],
            [identity for each in self._sets for identity in sorted(map(id, each))],
            [
                id(item)
                for each in self._slotted
                for _, item in object_attributes.attributes(each)
                if leads[type(item)]
            ],
            [
                id(item)
                for each in self._trackables
                for item in tf.train.TrackableView.children(each).values()
                if leads[type(item)]
            ],
            [tf_checkpoint.uninitialized(each) for each in self._without_value],
        )
