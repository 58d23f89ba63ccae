"""Defines leaves: the objects in the state whose values can be read and set.

A leaf is a variable, an object that TensorFlow can convert to tensors, or an object with Python
state.
"""

from __future__ import annotations

import functools
import gc
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.tracking import python_state

Tensors = dict[str, tf.Tensor]
"""The tensors of a leaf, by the last part of their key; empty for the leaf's own key."""


class Leaf(Protocol):
    """An object with values that a checkpoint saves.

    Attributes:
        key: `<state name>/<role>/<index>`.
        kind: `variable`, `trackable` or `python`.
        path: the name under which Keras or TensorFlow knows it.
        trainable: whether training changes it; None if that has no meaning.
    """

    @property
    def key(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def trainable(self) -> bool | None: ...

    def capture(self) -> Tensors:
        """Return the current values as tensors, which never change, so training may continue."""
        ...

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Set values that `capture` returned."""
        ...


@dataclass(frozen=True)
class VariableLeaf:
    """A leaf that is a `tf.Variable`.

    Args:
        key: see `Leaf`.
        path: see `Leaf`.
        variable: the variable.
        trainable: see `Leaf`.
        kind: see `Leaf`.
        place: of a model's weight, its place among the model's attributes.
    """

    key: str
    path: str
    variable: tf.Variable
    trainable: bool | None = None
    kind: str = "variable"
    place: str = ""

    @functools.cached_property
    def is_in_host_memory(self) -> bool:
        """Return whether the variable is in the host's memory."""
        return "CPU" in self.variable.device.upper()

    def capture(self) -> Tensors:
        # Placed on the CPU, so that a snapshot of an accelerator's variable does not take a second
        # copy of the accelerator's memory.
        with tf.device("CPU:0"):
            return {"": tf.identity(self.variable.read_value())}

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        self.variable.assign(tensors[""], read_value=False)


@dataclass(frozen=True)
class TrackableLeaf:
    """A lookup table, an iterator of tf.data, or another object that TensorFlow can serialize."""

    key: str
    path: str
    trackable: Any
    trainable: bool | None = None
    kind: str = "trackable"

    def capture(self) -> Tensors:
        try:
            # A table returns tensors that share its memory, and later inserts change them, so they
            # are copied. An iterator returns variants, which do not share memory.
            return {
                name: tensor if tensor.dtype == tf.variant else tf.raw_ops.DeepCopy(x=tensor)
                for name, tensor in tf_checkpoint.serialize(self.trackable).items()
            }
        except (tf.errors.OpError, NotImplementedError) as error:
            # Whether an iterator can be saved depends on its pipeline, so it is refused only here.
            iterator = isinstance(self.trackable, tf.data.Iterator)
            raise ConfigError(
                f"{self.path!r} ({self.key}), "
                f"{'an iterator of tf.data' if iterator else type(self.trackable).__name__}, "
                "cannot be saved by "
                f"TensorFlow: {first_line(error)}."
                + (
                    " Pipelines with from_generator, py_function, numpy_function or random "
                    "operations inside map cannot. Leave it out of "
                    "state, or build the pipeline without them."
                    if iterator
                    else " Leave it out of state."
                )
            ) from error

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        tf_checkpoint.deserialize(self.trackable, tensors)


@dataclass(frozen=True)
class PythonLeaf:
    """A leaf that is an object with Python state, saved as JSON and arrays.

    Args:
        key: see `Leaf`.
        path: see `Leaf`.
        get: returns the state.
        set: sets a state that `get` returned.
        source: the object that has the state, if it is the program's.
        returns_copies: whether training never changes the result of `get`, so that the
            writer's thread can encode it.
    """

    key: str
    path: str
    get: Callable[[], object]
    set: Callable[[Any], object]
    trainable: bool | None = None
    kind: str = "python"
    source: Any = None
    returns_copies: bool = False

    def capture(self) -> Tensors:
        return self._encoded(self.get())

    def capture_for_later(self) -> Callable[[], Tensors]:
        """Return a function that encodes the current state, on whichever thread calls it."""
        return functools.partial(self._encoded, self.get())

    def _encoded(self, state: object) -> Tensors:
        text, arrays = python_state.encode(state, f"The state of {self.path!r}")
        tensors = {"": tf.constant(text)}
        for index, array in enumerate(arrays):
            tensors[f"arrays/{index}"] = tf.constant(array)
        return tensors

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        self.set(self.value(tensors))

    def value(self, tensors: Mapping[str, tf.Tensor]) -> Any:
        """Return the Python value in saved tensors.

        Raises:
            CorruptCheckpointError: If a part is missing or damaged.
        """
        try:
            arrays = [tensors[f"arrays/{index}"].numpy() for index in range(len(tensors) - 1)]
            text = tensors[""].numpy().decode()
        except (KeyError, AttributeError, UnicodeDecodeError) as error:
            raise CorruptCheckpointError(
                f"The saved Python state of {self.path!r} is incomplete."
            ) from error
        return python_state.decode(text, arrays, repr(self.path))


def first_line(error: Exception) -> str:
    """Return the first line of a TensorFlow error, because the message contains stack traces."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return (text or type(error).__name__).strip().splitlines()[0].rstrip(".")


def path_of(variable: Any) -> str:
    """Return the name under which Keras or TensorFlow knows a variable."""
    # Asked of Keras' variables only: TensorFlow looks for an unknown attribute of a variable with
    # several replicas in its value, and computing that is an operation of all workers.
    path = variable.path if isinstance(variable, keras.Variable) else None
    return str(path or variable.name.removesuffix(":0"))


def python_accessors(value: Any) -> tuple[Callable[[], object], Callable[[Any], object]] | None:
    """Return functions that get and set an object's Python state, or None if it has no state."""
    if isinstance(value, tf.distribute.DistributedValues):
        return None  # see `path_of`
    # A NumPy Generator has neither get_state nor state_dict; its state is in its bit generator.
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return (lambda: bits.state), (lambda state: setattr(bits, "state", state))
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    for getter, setter in (("get_state", "set_state"), ("state_dict", "load_state_dict")):
        if callable(getattr(value, getter, None)) and callable(getattr(value, setter, None)):
            return getattr(value, getter), getattr(value, setter)
    return None


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Switch off Python's garbage collector while the block runs.

    Ten thousand new tensors make Python search all objects of the program, and TensorFlow has a
    million of them. That takes a quarter of a second and finds nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:  # otherwise the program itself has switched it off
            gc.enable()
