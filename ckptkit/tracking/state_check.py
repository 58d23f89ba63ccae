"""Checking `state={...}`: its names, and whether its values can be saved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.errors import ConfigError
from ckptkit.tracking.leaves import python_accessors

# Names of the entries that ckptkit adds to the state itself; `root` is TensorFlow's own.
RESERVED_NAMES = ("root", "fit", "loop", "process")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def check_state(state: Mapping[str, Any]) -> None:
    """Check names and types of `state={...}`.

    Args:
        state: the user's state, by name.

    Raises:
        ConfigError: if a name cannot be part of a key, or a value cannot be saved.
    """
    if not isinstance(state, Mapping) or not state:
        raise ConfigError(
            f"state names what is to be saved, as in state={{'model': model}}. Received: {state!r}."
        )
    for name, value in state.items():
        if (
            not isinstance(name, str)
            or not _NAME.fullmatch(name)
            or hasattr(tf.train.Checkpoint, name)
            or name in RESERVED_NAMES
        ):
            raise ConfigError(
                "A name in state becomes part of TensorFlow's keys: letters, digits, '_' and "
                "'-', not beginning "
                f"with a digit, and none of {_reserved_words()}. Received: {name!r}."
            )
        unsavable = _first_unsavable(value, f"state[{name!r}]")
        if unsavable is not None:
            where, part = unsavable
            raise ConfigError(
                f"{where} is {_kind_of(part)}, which cannot be saved. Expected a Keras model, "
                "layer, metric or optimizer, a tf.Variable, "
                "tf.Module, tf.train.Checkpoint, tf.random.Generator, lookup table, iterator of "
                "tf.data, a random.Random or "
                "numpy.random.Generator, a list or dictionary of these, or an object with "
                "get_state()/set_state(state) or "
                f"state_dict()/load_state_dict(state).{_hint(part)}"
            )


def _reserved_words() -> str:
    """Return the names that an entry of the state cannot have, for a message."""
    return ", ".join(
        sorted(n for n in (*dir(tf.train.Checkpoint), *RESERVED_NAMES) if not n.startswith("_"))
    )


def _hint(value: Any) -> str:
    """Return what to pass instead of a value that cannot be saved, or an empty string."""
    if isinstance(value, tf.data.Dataset):
        return (
            " A dataset has no position: make the iterator first, batches = iter(dataset), "
            "and name that."
        )
    if isinstance(value, tf.Tensor):
        return " A tensor never changes: name the tf.Variable that it came from."
    return ""


def _kind_of(value: Any) -> str:
    """Return the kind of a value, for a message."""
    if isinstance(value, type):
        return f"the class {value.__module__}.{value.__qualname__} itself"
    if isinstance(value, list | tuple | Mapping) and not value:
        return f"an empty {type(value).__qualname__}"
    return f"a {type(value).__module__}.{type(value).__qualname__}"


def _first_unsavable(value: Any, where: str) -> tuple[str, Any] | None:
    """Return the first part of a value that cannot be saved, with its place; or None."""
    if isinstance(value, list | tuple | Mapping) and value:
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            found = _first_unsavable(item, f"{where}[{key!r}]")
            if found is not None:
                return found
        return None
    return None if _is_savable(value) else (where, value)


def _is_savable(value: Any) -> bool:
    """Whether a value can be an entry of the state, or a part of one."""
    # Excluded first: TensorFlow counts datasets and its wrapped containers as trackable.
    if isinstance(
        value,
        (
            type,
            list,
            tuple,
            Mapping,
            tf.data.Dataset,
            tf.Tensor,
            tf.types.experimental.PolymorphicFunction,
        ),
    ):
        return False
    return (
        isinstance(
            value,
            keras.Layer
            | keras.Variable
            | keras.optimizers.Optimizer
            | keras.metrics.Metric
            | keras.random.SeedGenerator
            | tf.Variable,
        )
        or tf_checkpoint.is_trackable(value)
        or python_accessors(value) is not None
    )
