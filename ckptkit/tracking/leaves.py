"""The leaves of the tracked state: things that have values, can give them away and can take them
back.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.tracking import python_state

Tensors = dict[str, tf.Tensor]
"""Tensors by the last part of their key; the empty name is the leaf's own key."""


class Leaf(Protocol):
    """One thing that has values.

    Attributes:
        key: `<state name>/<role>/<index>`.
        kind: `variable`, `trackable` or `python`.
        path: the name under which Keras or TensorFlow knows it.
        trainable: whether training changes it; None where that has no meaning.
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
        """The values of this moment. TensorFlow's tensors do not change, so training may go on."""
        ...

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Takes values as `capture` gave them."""
        ...


@dataclass(frozen=True)
class VariableLeaf:
    """A `tf.Variable`."""

    key: str
    path: str
    variable: tf.Variable
    trainable: bool | None = None
    kind: str = "variable"

    @functools.cached_property
    def is_near(self) -> bool:
        """Whether it is one variable in the host's memory."""
        return (
            not isinstance(self.variable, tf.distribute.DistributedValues)
            and "CPU" in self.variable.device.upper()
        )

    def capture(self) -> Tensors:
        with tf.device("CPU:0"):
            return {"": tf.identity(self.variable.read_value())}

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        self.variable.assign(tensors[""])


@dataclass(frozen=True)
class TrackableLeaf:
    """A table, an iterator of tf.data, or another object that TensorFlow can turn into tensors."""

    key: str
    path: str
    trackable: Any
    trainable: bool | None = None
    kind: str = "trackable"

    def capture(self) -> Tensors:
        try:
            # A table gives its memory away and writes on in it; what an iterator gives is a value
            # of its own.
            return {
                name: tensor if tensor.dtype == tf.variant else tf.raw_ops.DeepCopy(x=tensor)
                for name, tensor in tf_checkpoint.serialize(self.trackable).items()
            }
        except (tf.errors.OpError, NotImplementedError) as error:
            iterator = isinstance(self.trackable, tf.data.Iterator)
            raise ConfigError(
                f"{self.path!r} ({self.key}), "
                f"{'an iterator of tf.data' if iterator else type(self.trackable).__name__}, "
                "cannot be saved by "
                f"TensorFlow: {_first_line(error)}."
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
    """An object with plain Python state."""

    key: str
    path: str
    get: Callable[[], object]
    set: Callable[[Any], object]
    trainable: bool | None = None
    kind: str = "python"

    def capture(self) -> Tensors:
        text, arrays = python_state.encode(self.get(), f"The state of {self.path!r}")
        tensors = {"": tf.constant(text)}
        for index, array in enumerate(arrays):
            tensors[f"arrays/{index}"] = tf.constant(array)
        return tensors

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        self.set(self.value(tensors))

    def value(self, tensors: Mapping[str, tf.Tensor]) -> Any:
        """The Python value that tensors hold."""
        try:
            arrays = [tensors[f"arrays/{index}"].numpy() for index in range(len(tensors) - 1)]
            text = tensors[""].numpy().decode()
        except (KeyError, AttributeError, UnicodeDecodeError) as error:
            raise CorruptCheckpointError(
                f"The saved Python state of {self.path!r} is not whole."
            ) from error
        return python_state.decode(text, arrays, repr(self.path))


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return (text or type(error).__name__).strip().splitlines()[0].rstrip(".")


def python_accessors(value: Any) -> tuple[Callable[[], object], Callable[[Any], object]] | None:
    """How to get and set an object's Python state, or None where it offers no way that is known."""
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return (lambda: bits.state), (lambda state: setattr(bits, "state", state))
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    for getter, setter in (("get_state", "set_state"), ("state_dict", "load_state_dict")):
        if callable(getattr(value, getter, None)) and callable(getattr(value, setter, None)):
            return getattr(value, getter), getattr(value, setter)
    return None
