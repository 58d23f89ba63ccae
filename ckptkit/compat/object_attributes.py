"""Attributes of objects that may lead to state, and the private names that do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

_IN_LAYERS = frozenset(
    {
        "_tracker",
        "_inbound_nodes",
        "_outbound_nodes",
        "_lock",
        "_auto_config",
        "_distribute_strategy",
        "train_function",
        "test_function",
        "predict_function",
        "_compile_config",
    }
)


_IN_CHECKPOINTS = frozenset({"_save_counter", "save_counter", "_kwargs"})


NOT_FOLLOWED = _IN_LAYERS | _IN_CHECKPOINTS
"""All names of which `not_followed` speaks."""


def not_followed(value: Any) -> frozenset[str]:
    """Attributes of this object that hold no state of their own: Keras' or TensorFlow's
    book-keeping, compiled functions, ways back up.
    """
    if isinstance(value, tf.train.Checkpoint):
        return _IN_CHECKPOINTS
    return _IN_LAYERS if isinstance(value, keras.Layer) else frozenset()


def attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object that may lead to state, in the order in which they were set;
    those in slots come last.
    """
    skipped = not_followed(value)
    for name, attribute in getattr(value, "__dict__", {}).items():
        if name not in skipped:
            yield name, attribute
    for name in slots_of(type(value)):
        if hasattr(value, name):
            yield name, getattr(value, name)


def slots_of(kind: type[Any]) -> tuple[str, ...]:
    """Names of the attributes that a type's objects keep in slots."""
    found = [cls.__dict__.get("__slots__", ()) for cls in kind.__mro__]
    return tuple(
        name
        for slots in found
        for name in ((slots,) if isinstance(slots, str) else slots)
        if not name.startswith("__")
    )
