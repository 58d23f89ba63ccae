"""Wraps private names of TensorFlow's stateful random operations, and how to replace them.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import tensorflow as tf


def _extended(shape: Any, parameter: Any) -> tf.Tensor:
    """Return the shape of the result of an operation that draws a block for each parameter."""
    return tf.concat([shape, tf.shape(parameter, out_type=tf.as_dtype(shape.dtype))], 0)


def _shuffled(value: tf.Tensor, seed: Any) -> tf.Tensor:
    """Return a tensor with its rows in a random order; like the stateful one, without gradient.

    `tf.random.experimental.stateless_shuffle` does not exist in XLA.
    """
    if value.shape.rank == 0:
        return value
    keys = tf.random.stateless_uniform(
        tf.shape(value)[:1], seed, None, None, dtype=tf.int32, alg="philox"
    )
    return tf.stop_gradient(tf.gather(value, tf.argsort(keys, stable=True)))


_STATELESS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "random_standard_normal": lambda seed, given: tf.random.stateless_normal(
        given["shape"], seed, dtype=given["dtype"], alg="philox"
    ),
    "truncated_normal": lambda seed, given: tf.random.stateless_truncated_normal(
        given["shape"], seed, dtype=given["dtype"], alg="philox"
    ),
    "random_uniform": lambda seed, given: tf.random.stateless_uniform(
        given["shape"], seed, dtype=given["dtype"], alg="philox"
    ),
    "random_uniform_int": lambda seed, given: tf.random.stateless_uniform(
        given["shape"],
        seed,
        given["minval"],
        given["maxval"],
        dtype=tf.convert_to_tensor(given["minval"]).dtype,
        alg="philox",
    ),
    "random_shuffle": lambda seed, given: _shuffled(tf.convert_to_tensor(given["value"]), seed),
    "multinomial": lambda seed, given: tf.random.stateless_categorical(
        given["logits"], given["num_samples"], seed, dtype=given["output_dtype"]
    ),
    "random_gamma": lambda seed, given: tf.random.stateless_gamma(
        _extended(given["shape"], given["alpha"]),
        seed,
        alpha=given["alpha"],
        dtype=given["alpha"].dtype,
    ),
    "random_poisson_v2": lambda seed, given: tf.random.stateless_poisson(
        _extended(given["shape"], given["rate"]),
        seed,
        given["rate"],
        dtype=given["dtype"],
    ),
}
"""How to draw the same with a seed, by the name of the function that makes the operation."""

REPLACED_OPS = frozenset(
    {
        "Multinomial",
        "RandomGamma",
        "RandomPoissonV2",
        "RandomShuffle",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "TruncatedNormal",
    }
)
"""The operations that these functions make."""

_TRACED_ELSEWHERE = (
    "tensorflow.python.data.ops.structured_function",
    "tensorflow.python.saved_model.save",
    "tensorflow.lite.",
    "keras.src.export.",
    "ckptkit.export.",
)
"""Modules that trace functions for a pipeline of tf.data, or for an export.

A pipeline whose functions use a variable cannot be saved, and runs them in parallel. An exported
function must not refer to a variable that no model has.
"""


class ReplacedOperations:
    """Makes the random operations of functions stateless while they are traced.

    A stateful operation keeps its counter inside its kernel. The operation in its place takes a
    seed, which the caller computes from a counter of its own. Eager operations stay as they are.

    Reason: TensorFlow has no public way to change which operation `tf.random.normal` makes. The
    functions here are what all names of `tf.random` call, however a program has imported them.
    `op_callbacks` would leave the stateful operation in the graph, and slow down eager operations.

    Args:
        next_seed: called while a function is traced, for each operation in it. It gets the seed of
            the operation itself if the program gave one and has set no global seed, else None. It
            returns a tensor of two integers.
    """

    def __init__(self, next_seed: Callable[[int | None], tf.Tensor]) -> None:
        self._next_seed = next_seed
        self._thread: int | None = None

    def begin(self) -> None:
        """Replace operations from now on, in functions that this thread traces."""
        self._thread = threading.get_ident()
        _install(self)

    def end(self) -> None:
        """Replace nothing any more."""
        self._thread = None
        _remove(self)

    def replaced(self, name: str, given: dict[str, Any]) -> Any:
        """Return what the stateless operation draws, or None if the stateful one is to be made.

        Args:
            name: the name of the function that would make the stateful operation.
            given: its arguments.
        """
        if threading.get_ident() != self._thread or _is_traced_elsewhere():
            return None
        from tensorflow.python.framework.random_seed import DEFAULT_GRAPH_SEED

        own = given["seed2"] if given["seed"] == DEFAULT_GRAPH_SEED else None
        return _STATELESS[name](self._next_seed(own), given)


_users: list[ReplacedOperations] = []
_originals: dict[str, Any] = {}
_guard = threading.Lock()


def _install(user: ReplacedOperations) -> None:
    from tensorflow.python.ops import gen_random_ops

    with _guard:
        if user not in _users:
            _users.append(user)
        for name in _STATELESS:
            if name not in _originals:
                _originals[name] = getattr(gen_random_ops, name)
                setattr(gen_random_ops, name, _replacing(name, _originals[name]))


def _remove(user: ReplacedOperations) -> None:
    from tensorflow.python.ops import gen_random_ops

    with _guard:
        if user in _users:
            _users.remove(user)
        while not _users and _originals:
            setattr(gen_random_ops, *_originals.popitem())


def _replacing(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def draw(*args: Any, **named: Any) -> Any:
        # Not in a graph of TensorFlow 1: its session would not know the variable.
        if not tf.executing_eagerly() and tf.compat.v1.get_default_graph().building_function:
            bound = signature.bind(*args, **named)
            bound.apply_defaults()
            for user in list(_users):
                drawn = user.replaced(name, bound.arguments)
                if drawn is not None:
                    return drawn
        return original(*args, **named)

    return draw


def _is_traced_elsewhere() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_TRACED_ELSEWHERE):
            return True
        frame = frame.f_back
    return False
