"""The kinds of Python objects: how to read the contents of each, and to set them in place.

A kind reads the contents of an object at one moment. Contents that are objects are read separately.
Objects without state are skipped; objects with unreadable state are reported.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from ckptkit.compat import (
    keras_attributes,
    keras_models,
    object_attributes,
    tensorboard_callback,
    tf_checkpoint,
)
from ckptkit.tracking.variable_replicas import (
    NONE,
    aggregation_of,
    components_of,
    fit_number,
    read_replica,
)

MISSING = object()
"""The content of a missing attribute or an empty closure cell."""

Contents = Any
"""The contents of an object: a list if they change together, else a dictionary by name."""


class Kind(Protocol):
    """Reads and sets the contents of one kind of objects.

    Attributes:
        name: the name in a checkpoint.
        whole: whether the contents are saved together; otherwise each is saved separately.
    """

    name: str
    whole: bool

    def contents(self, value: Any) -> Contents:
        """Return the current contents of an object."""
        ...

    def fill(self, value: Any, contents: Contents) -> None:
        """Set the contents of an object, or some of them if they are saved separately."""
        ...


class SequenceKind:
    """Lists and deques, including the wrappers of Keras and TensorFlow."""

    name, whole = "list", True

    def contents(self, value: Any) -> Contents:
        return list(value)

    def fill(self, value: Any, contents: Contents) -> None:
        items = contents
        kept = len(value)
        # A list of a tf.Module records each change other than an append, and then TensorFlow
        # refuses to save it.
        if kept <= len(items) and all(a is b for a, b in zip(value, items, strict=False)):
            value.extend(items[kept:])
            return
        value.clear()
        value.extend(items)


class DictKind:
    """Dictionaries of every kind; the contents are keys and values in turn."""

    name, whole = "dict", True

    def contents(self, value: Any) -> Contents:
        return list(itertools.chain.from_iterable(value.items()))

    def fill(self, value: Any, contents: Contents) -> None:
        flat = iter(contents)
        value.clear()
        for key, item in zip(flat, flat, strict=True):
            value[key] = item


class SetKind:
    """Sets."""

    name, whole = "set", True

    def contents(self, value: Any) -> Contents:
        return list(value)

    def fill(self, value: Any, contents: Contents) -> None:
        value.clear()
        value.update(contents)


class ObjectArrayKind:
    """Arrays of Python objects."""

    name, whole = "object array", True

    def contents(self, value: Any) -> Contents:
        return list(value.flat)

    def fill(self, value: Any, contents: Contents) -> None:
        for index, item in enumerate(contents):
            value.flat[index] = item


class ObjectKind:
    """Objects with attributes, without those that Keras or TensorFlow set for themselves."""

    name, whole = "object", False

    def contents(self, value: Any) -> Contents:
        own = getattr(value, "__dict__", None) or {}
        hidden = keras_attributes.own_attributes(value.__class__)
        if hidden:
            shown = keras_attributes.settings(value.__class__)
            if isinstance(value, keras.Layer):
                shown |= {keras_models.TRAINABLE}
            found = {
                name: item
                for name, item in own.items()
                if name not in hidden or (name in shown and is_setting(item))
            }
        else:
            found = dict(own)
        for name in object_attributes.slots_of(type(value)):
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
        return found

    def fill(self, value: Any, contents: Contents) -> None:
        for name, item in contents.items():
            if name == keras_models.TRAINABLE and isinstance(value, keras.Layer):
                keras_models.set_trainable(value, bool(item))
            elif item is not MISSING:
                set_attribute(value, name, item)
            elif name in getattr(value, "__dict__", {}):
                del value.__dict__[name]
            elif hasattr(value, name):
                object.__delattr__(value, name)


class CallbackKind(ObjectKind):
    """Callbacks; those of Keras itself also keep their state in attributes."""

    def contents(self, value: Any) -> Contents:
        hidden = CALLBACK_ARGUMENTS
        if isinstance(value, keras.callbacks.TensorBoard):
            hidden |= tensorboard_callback.OPEN_FILES
        return {name: item for name, item in vars(value).items() if name not in hidden}


CALLBACK_ARGUMENTS = frozenset(
    {"model", "_model", "params", "_params", "validation_data", "monitor_op", "min_delta"}
)
"""Attributes that Keras sets from the arguments of a callback or of `fit`."""


class GeneratorKind:
    """NumPy's generators, whose state is in another object."""

    name, whole = "generator", True

    def contents(self, value: Any) -> Contents:
        return [value.bit_generator]

    def fill(self, value: Any, contents: Contents) -> None:
        """Do nothing, because another object keeps the state of a generator."""


def was_setting(value: Any, name: str) -> bool:
    """Return whether an attribute of Keras' own has become something else than a plain setting.

    `BatchNormalization` has `moving_mean = None`, which building replaces by a variable.

    Args:
        value: the object.
        name: the name of an attribute that its contents do not have any more.
    """
    return name in getattr(value, "__dict__", ()) and name in keras_attributes.own_attributes(
        value.__class__
    )


def is_setting(value: Any) -> bool:
    """Return whether the value of one of Keras' own attributes is plain."""
    if isinstance(value, tuple):
        return all(map(is_setting, value))
    return value is None or isinstance(value, bool | int | float | str)


def set_attribute(value: Any, name: str, item: Any) -> None:
    """Set an attribute without running code of the user's class, such as a setter."""
    own = getattr(value, "__dict__", None)
    tracked = tf_checkpoint.is_trackable(value)
    if own is None or _is_slot(value, name):
        object.__setattr__(value, name, item)
    elif not tracked or (_is_untracked(own.get(name, ...)) and _is_untracked(item)):
        own[name] = item
    else:
        # Keras and TensorFlow track assigned objects, so their `__setattr__` must be used.
        setattr(value, name, item)


def _is_slot(value: Any, name: str) -> bool:
    return name in object_attributes.slots_of(type(value))


def _is_untracked(value: Any) -> bool:
    """Return whether neither Keras nor TensorFlow wraps or tracks a value on assignment."""
    return value is None or isinstance(
        value, bool | int | float | complex | str | bytes | np.ndarray
    )


class FunctionKind:
    """Functions of the program: the variables in their closure, and their attributes."""

    name, whole = "function", False

    def contents(self, value: Any) -> Contents:
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        found = {name: _cell_contents(cell) for name, cell in cells if name != "__class__"}
        return found | {f".{name}": item for name, item in value.__dict__.items()}

    def fill(self, value: Any, contents: Contents) -> None:
        cells = dict(zip(value.__code__.co_freevars, value.__closure__ or (), strict=True))
        for name, item in contents.items():
            if name.startswith("."):
                value.__dict__[name[1:]] = item
            elif name in cells and item is not MISSING:
                cells[name].cell_contents = item


def _cell_contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty: the variable has no value yet
        return MISSING


class StateKind:
    """Objects with methods that return and set their state as one plain value.

    Args:
        name: the name in a checkpoint.
        get: returns the state of an object.
        set: sets the state of an object.
        always: whether the state is saved although training has not changed it.
    """

    whole = True

    def __init__(
        self,
        name: str,
        get: Callable[[Any], Any],
        set: Callable[[Any, Any], object],
        *,
        always: bool = False,
    ) -> None:
        self.name, self._get, self._set, self.always = name, get, set, always

    def contents(self, value: Any) -> Contents:
        return [self._get(value)]

    def fill(self, value: Any, contents: Contents) -> None:
        self._set(value, contents[0])


def _set_array(value: Any, state: Any) -> None:
    if value.shape != state.shape:
        value.resize(state.shape, refcheck=False)
    value[...] = state


def _set_buffer(value: Any, state: bytes) -> None:
    del value[:]
    if isinstance(value, bytearray):
        value.extend(state)
    else:
        value.frombytes(state)


def _stream_state(value: Any) -> Any:
    return (value.getvalue(), value.tell())


def _set_stream(value: Any, state: Any) -> None:
    value.seek(0)
    value.truncate()
    value.write(state[0])
    value.seek(state[1])


def _set_seed_sequence(value: Any, spawned: int) -> None:
    # The count only grows, and nothing else sets it.
    if spawned > value.n_children_spawned:
        value.spawn(spawned - value.n_children_spawned)


def asked_methods(value: Any) -> tuple[Callable[[], Any], Callable[[Any], object]] | None:
    """Return the methods that return and set an object's state, or None."""
    # TensorFlow looks for an unknown attribute of such a variable in its value, and computing that
    # is an operation of all workers.
    if isinstance(value, type | tf.distribute.DistributedValues):
        return None
    for getter, setter in (("get_state", "set_state"), ("state_dict", "load_state_dict")):
        if callable(getattr(value, getter, None)) and callable(getattr(value, setter, None)):
            return getattr(value, getter), getattr(value, setter)
    return None


def tensorflow_variable(value: Any) -> tf.Variable:
    """Return the `tf.Variable` of a Keras variable, or the variable itself."""
    return value.value if isinstance(value, keras.Variable) else value


def _variable_state(value: Any) -> tf.Tensor | dict[str, tf.Tensor]:
    """Return the value of a variable; those of all replicas if it has several."""
    variable = tensorflow_variable(value)
    if not isinstance(variable, tf.distribute.DistributedValues):
        return variable.read_value()
    found = {str(i): read_replica(each) for i, each in enumerate(components_of(variable))}
    # The sum or mean of replicas must be known on a resume on one device, which has none.
    return found | {"aggregation": tf.constant(aggregation_of(variable))}


def _set_variable(value: Any, state: tf.Tensor | dict[str, tf.Tensor]) -> None:
    variable, saved = tensorflow_variable(value), [state]
    replicated = isinstance(variable, tf.distribute.DistributedValues)
    aggregation = aggregation_of(variable) if replicated else NONE
    if isinstance(state, dict):
        aggregation = state["aggregation"].numpy().decode()
        saved = [state[str(number)] for number in range(len(state) - 1)]
    each = components_of(variable) if replicated else (variable,)
    values = fit_number(saved, aggregation, len(each))
    for number, component in enumerate(each):
        component.assign(values[number] if number < len(values) else values[0])


SEQUENCE, DICT, SET, OBJECT, FUNCTION = (
    SequenceKind(),
    DictKind(),
    SetKind(),
    ObjectKind(),
    FunctionKind(),
)
OBJECT_ARRAY, CALLBACK, GENERATOR = ObjectArrayKind(), CallbackKind(), GeneratorKind()
ARRAY = StateKind("array", lambda value: value, _set_array)
BUFFER = StateKind("buffer", lambda value: bytes(value), _set_buffer)
STREAM = StateKind("stream", _stream_state, _set_stream)
BITS = StateKind(
    "bits", lambda value: value.state, lambda value, state: setattr(value, "state", state)
)
RANDOM_STATE = StateKind(
    "random state",
    lambda value: value.get_state(legacy=False),
    lambda value, state: value.set_state(state),
)
PYTHON_RANDOM = StateKind(
    "random", lambda value: value.getstate(), lambda value, state: value.setstate(state)
)
SEED_SEQUENCE = StateKind("seeds", lambda value: value.n_children_spawned, _set_seed_sequence)
ASKED = StateKind(
    "asked",
    lambda value: asked_methods(value)[0](),  # type: ignore[index]
    lambda value, state: asked_methods(value)[1](state),  # type: ignore[index]
    always=True,
)
VARIABLE = StateKind("variable", _variable_state, _set_variable, always=True)
TRACKABLE = StateKind(
    "trackable",
    lambda value: tf_checkpoint.serialize(value),
    lambda value, state: tf_checkpoint.deserialize(value, state),
    always=True,
)
