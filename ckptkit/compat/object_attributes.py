"""Finds those attributes of an object that may contain state.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

_IN_LAYERS = frozenset(
    {
        # Keras' bookkeeping of the attributes above, and of connected layers.
        "_tracker",
        "_inbound_nodes",
        "_outbound_nodes",
        "_lock",
        "_auto_config",
        # The strategy is not part of the model, and has variables of its own.
        "_distribute_strategy",
        # Compiled functions refer to everything, and Keras makes them again.
        "train_function",
        "test_function",
        "predict_function",
        "_compile_config",
    }
)
"""Attributes of Keras layers and models without state of their own."""

_IN_CHECKPOINTS = frozenset({"_save_counter", "save_counter", "_kwargs"})
"""The same for `tf.train.Checkpoint`: it counts its own saves, which a resume must not change."""

NOT_FOLLOWED = _IN_LAYERS | _IN_CHECKPOINTS
"""All names that `not_followed` may return.

To compare with this one set is faster than to get the names for each object.
"""


def not_followed(value: Any) -> frozenset[str]:
    """Return the names of an object's attributes that have no state of their own.

    Reason: they are bookkeeping of Keras or TensorFlow, compiled functions, and references to
    parents. To follow them would find state of other objects, or variables that no checkpoint
    needs. No public list separates them from the user's attributes.
    """
    if isinstance(value, tf.train.Checkpoint):
        return _IN_CHECKPOINTS
    return _IN_LAYERS if isinstance(value, keras.Layer) else frozenset()


def attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Return the attributes of an object that may contain state.

    They are in the order in which they were set; attributes in slots come last.

    Reason: see `not_followed`.
    """
    skipped = not_followed(value)
    for name, attribute in getattr(value, "__dict__", {}).items():
        if name not in skipped:
            yield name, attribute
    for name in slots_of(type(value)):
        if hasattr(value, name):
            yield name, getattr(value, name)


def slots_of(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the attributes that a type's objects keep in slots.

    Reason: `vars` does not list them.
    """
    found = [cls.__dict__.get("__slots__", ()) for cls in kind.__mro__]
    return tuple(
        name
        for slots in found
        for name in ((slots,) if isinstance(slots, str) else slots)
        if not name.startswith("__")
    )


def is_installed(kind: type[Any]) -> bool:
    """Return whether a class belongs to Python or an installed package, and not to the program.

    Reason: only the place of its file shows whether a class belongs to the program.
    """
    package = kind.__module__.partition(".")[0]
    if package == "__main__":
        return False
    if package in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    places = sysconfig.get_paths()
    return any(file.startswith(places[name]) for name in ("purelib", "platlib"))
