"""Checks `state={...}`: its names, its kinds of values, and that all Keras objects are built.

A Keras object that is not built has no variables yet. It is built here if its shapes are known;
otherwise an error shows the line of code that builds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import keras_adapted, keras_models, object_attributes, tf_checkpoint
from ckptkit.errors import ConfigError
from ckptkit.tracking.leaves import python_accessors
from ckptkit.tracking.object_classification import classify
from ckptkit.tracking.object_kinds import OBJECT
from ckptkit.tracking.reachable_objects import walk
from ckptkit.tracking.strategy_check import build_optimizer
from ckptkit.tracking.tracker import RESERVED_NAMES, optimizers_in

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def check_state(state: Mapping[str, Any]) -> None:
    """Check names and types of `state={...}`.

    Args:
        state: the user's state, by name.

    Raises:
        ConfigError: If a name cannot be part of a key, or a value cannot be saved.
    """
    if not isinstance(state, Mapping) or not state:
        raise ConfigError(
            "state is a dictionary of the objects to save, as in state={'model': model}. Received: "
            f"{state!r}."
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
                "numpy.random.Generator, a list or dictionary of these, an object of your "
                "own class, or one with "
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
            " A dataset has no position: make an iterator, batches = iter(dataset), and put that "
            "into state."
        )
    if isinstance(value, tf.distribute.DistributedIterator | tf.distribute.DistributedDataset):
        return (
            " TensorFlow cannot save the position in data that a strategy has split. Leave it out "
            "of state, and loop over manager.data(dataset, strategy=strategy) of the plain dataset."
        )
    if isinstance(value, tf.Tensor):
        return " A tensor never changes: put the tf.Variable that it came from into state."
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
    """Return whether a value can be an entry of the state, or a part of one."""
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
        or _is_users_object(value)
    )


def _is_users_object(value: Any) -> bool:
    """Return whether a value is an object of a class of the program, whose attributes are saved."""
    return classify(value) is OBJECT and not object_attributes.is_installed(type(value))


def ensure_built(state: Mapping[str, Any]) -> None:
    """Build optimizers if their variables are known, and check that all other objects are built.

    Args:
        state: the user's state, by name.

    Raises:
        ConfigError: If a model or an optimizer is not built and its shapes are unknown; the message
            shows the line that builds it.
    """
    entries = [
        pair
        for name, value in state.items()
        for pair in _named_entries(name, f"state[{name!r}]", value)
    ]
    models = [entry for _, _, entry in entries if isinstance(entry, keras.Model)]
    for name, where, entry in entries:
        if isinstance(entry, keras.Layer):
            check_built(name, where, entry)
        elif _is_empty(entry):
            raise ConfigError(
                f"{where}, a {type(entry).__name__}, has no variables yet, and nothing else to "
                f"save. If it makes its variables in its first call, call it once on a batch "
                f"before; otherwise remove it from state."
            )
        # Of nothing else: see `path_of`.
        optimizer = getattr(entry, "optimizer", None) if isinstance(entry, keras.Model) else None
        if isinstance(optimizer, keras.optimizers.Optimizer) and not optimizer.built:
            build_optimizer(optimizer, entry.trainable_variables)
    # A second loop, because a compiled model builds its optimizer above, and the same optimizer may
    # also be an entry of the state.
    for name, _, entry in entries:
        if isinstance(entry, keras.Model):
            continue
        for path, optimizer in optimizers_in(entry):
            if optimizer.built:
                continue
            named = ".".join(filter(None, (name, path)))
            # With several models (a GAN) a guess would build slots for the wrong variables.
            if len(models) != 1:
                raise ConfigError(
                    f"The optimizer {named!r} ({type(optimizer).__name__}) has no variables yet, "
                    f"and its model is unknown. Build it first: "
                    f"{named}.build(the_model_that_it_trains.trainable_variables)."
                )
            build_optimizer(optimizer, models[0].trainable_variables)


def _named_entries(name: str, where: str, value: Any) -> list[tuple[str, str, Any]]:
    """Return the user's objects in the state, including those in lists and dictionaries.

    Returns:
        For each object: its name in a line of code, its place in the state, and the object.
    """
    if isinstance(value, list | tuple | Mapping):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        return [
            found
            for key, item in items
            for found in _named_entries(f"{name}[{key!r}]", f"{where}[{key!r}]", item)
        ]
    return [(name, where, value)]


def check_built(name: str, where: str, layer: Any) -> None:
    """Check that a layer has its variables.

    Args:
        name: how the message's example line calls it, such as `model`.
        where: where it was passed, such as `state['model']`.
        layer: a Keras layer or model.

    Raises:
        ConfigError: If it has no variables yet; the message shows the line that builds it.
    """
    if not _is_built(layer):
        kind = "model" if isinstance(layer, keras.Model) else "layer"
        raise ConfigError(
            f"The {kind} in {where} ({type(layer).__name__} {layer.name!r}) has no variables yet, "
            f"because the shape of its inputs is unknown. Build it first: call it once on a "
            f"batch, {name}(batch), or "
            f"{name}.build(input_shape)."
        )


def _is_built(layer: Any) -> bool:
    """Return whether a layer has its variables.

    For Keras, a model of other models that was never called is not `built`. But its layers are
    built, and they have all the variables.
    """
    # A lookup has no variables, and nothing to build.
    if layer.built or keras_adapted.is_adapted(layer):
        return True
    inner = [other for other in keras_models.layers_of(layer) if other is not layer]
    return bool(inner) and all(other.built for other in inner)


def _is_empty(entry: Any) -> bool:
    """Return whether a TensorFlow object has nothing to save."""
    if not tf_checkpoint.is_trackable(entry) or python_accessors(entry) is not None:
        return False
    return next(walk(entry), None) is None


def unbuilt_parts(state: Mapping[str, Any]) -> list[str]:
    """Return a description of unbuilt parts of the state, to explain why a restore fails."""
    parts = []
    for name, value in state.items():
        if isinstance(value, keras.Layer):
            parts += [
                f"layer {layer.name!r} of {name!r}"
                for layer in keras_models.layers_of(value)
                if not layer.built
            ]
        if isinstance(value, keras.Model) and not keras_models.compile_metrics_built(value):
            parts.append(
                f"the compiled metrics of {name!r} (they are made in the first batch: "
                f"{name}.test_on_batch(x, y))"
            )
        parts += [
            f"optimizer {'.'.join(filter(None, (name, path)))!r}"
            for path, optimizer in optimizers_in(value)
            if not optimizer.built
        ]
    return parts
