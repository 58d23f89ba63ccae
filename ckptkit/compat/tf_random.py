"""Wraps private names of TensorFlow's random operations and of Keras' global seed.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np

STATEFUL_RANDOM_OPS = frozenset(
    {
        "AllCandidateSampler",
        "FixedUnigramCandidateSampler",
        "LearnedUnigramCandidateSampler",
        "LogUniformCandidateSampler",
        "Multinomial",
        "ParameterizedTruncatedNormal",
        "RandomCrop",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "RandomShuffle",
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "SampleDistortedBoundingBox",
        "SampleDistortedBoundingBoxV2",
        "ThreadUnsafeUnigramCandidateSampler",
        "TruncatedNormal",
        "UniformCandidateSampler",
    }
)
"""TensorFlow's random operations whose state is inside their kernels, with or without a seed."""


def stateful_random_ops(function: Any) -> list[str]:
    """Return the operations in a train function that use a random state inside the kernels.

    That state can neither be read nor set.

    Reason: the `tf.function` is in the closure of the function that Keras calls, and the list of
    its traces has no public name.
    """
    found = set()
    for cell in getattr(function, "__closure__", None) or ():
        if not hasattr(cell.cell_contents, "_list_all_concrete_functions"):
            continue
        for concrete in cell.cell_contents._list_all_concrete_functions():
            graph = concrete.graph.as_graph_def()
            nodes = [
                *graph.node,
                *(node for each in graph.library.function for node in each.node_def),
            ]
            found |= {node.op for node in nodes if node.op in STATEFUL_RANDOM_OPS}
    return sorted(found)


class EagerOperations:
    """Records the operations in its block that use a random state inside TensorFlow's kernels.

    It is for steps that are not traced (`run_eagerly=True`, custom loops), which leave no graph to
    examine. A `tf.function` that is called in the block is examined too, without being traced
    again. After `tf.random.set_seed`, an eager operation without a seed of its own is left out:
    `eager_random` has what it draws from.

    Reason: no public name observes operations as they run, or gives the graph of a traced function.

    Attributes:
        eager: the names of these operations that ran by themselves.
        traced: the names of those in a `tf.function`.
    """

    def __init__(self) -> None:
        self.eager: set[str] = set()
        self.traced: set[str] = set()
        self._examined: set[str] = set()
        self._seeds = _DrawnSeeds()

    def __enter__(self) -> EagerOperations:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.add_op_callback(self._record)
        return self

    def __exit__(self, *error: object) -> None:
        from tensorflow.python.framework import op_callbacks

        # Callbacks belong to a thread. A generator may be collected on another thread, which has no
        # callback to remove.
        with contextlib.suppress(KeyError):
            op_callbacks.remove_op_callback(self._record)

    def _record(
        self,
        operation: Any,
        inputs: Any,
        attributes: Any,
        outputs: Any,
        op_name: Any = None,
        graph: Any = None,
    ) -> None:
        name = operation.decode() if isinstance(operation, bytes) else str(operation)
        if name in STATEFUL_RANDOM_OPS:
            if graph is not None:
                self.traced.add(name)
            elif not self._seeds.include(attributes):
                self.eager.add(name)
        elif name.startswith("__"):  # a traced function is an operation with its name
            self._examine(name)

    def _examine(self, function: str) -> None:
        from tensorflow.python.eager import context

        pending = [function]
        while pending:
            name = pending.pop()
            if name in self._examined or not context.context().has_function(name):
                continue
            self._examined.add(name)
            for node in context.context().get_function_def(name).node_def:
                if node.op in STATEFUL_RANDOM_OPS:
                    self.traced.add(node.op)
                for attribute in node.attr.values():
                    called = [attribute.func, *attribute.list.func]
                    pending += [each.name for each in called if each.name]


class _DrawnSeeds:
    """The seeds that TensorFlow has drawn for eager operations since this object was made.

    TensorFlow gives an eager operation without a seed of its own a new one at each call. So such
    an operation has no state but the generator that these seeds come from.
    """

    _MOST = 100_000
    """Seeds that one operation is compared with; a program that draws more is not recognised."""

    def __init__(self) -> None:
        from tensorflow.python.eager import context

        self._context = context.context()
        self._generator: Any = getattr(self._context, "_rng", None)
        self._copy = random.Random()
        if self._generator is not None:
            self._copy.setstate(self._generator.getstate())
        self._drawn: set[int] = set()

    def include(self, attributes: Any) -> bool:
        """Whether the attributes of an operation name a seed that TensorFlow has drawn for it."""
        generator = getattr(self._context, "_rng", None)
        if generator is None or self._context._seed is None:
            return False
        if generator is not self._generator:  # the program has set another seed meanwhile
            self._generator = generator
            self._copy = random.Random(_as_int(self._context._seed))
        now = generator.getstate()
        for _ in range(self._MOST):
            if self._copy.getstate() == now:
                break
            self._drawn.add(self._copy.randint(0, _MOST_SEED) % _MOST_SEED)
        pairs = dict(zip(attributes[::2], attributes[1::2], strict=False))
        seeds = {key.decode() if isinstance(key, bytes) else key: pairs[key] for key in pairs}
        return seeds.get("seed2") in self._drawn


_MOST_SEED = 2**31 - 1
"""TensorFlow draws seeds up to this one, and takes them modulo it."""


def _as_int(seed: Any) -> int:
    return int(np.array(seed))


def program_seed() -> int | None:
    """Return the seed that the program gave to `tf.random.set_seed`, or None if it gave none.

    Reason: TensorFlow has no public name to read it.
    """
    from tensorflow.python.eager import context

    seed = context.context()._seed
    return None if seed is None else _as_int(seed)


class _Seeding:
    """The generators of the context that `has_seeded_again` knows."""

    known: Any = None
    restored: Any = None


def has_seeded_again() -> bool:
    """Return whether the program has called `tf.random.set_seed` since the last call of this.

    What `set_eager_random` does is not counted.

    Reason: each `tf.random.set_seed` makes a new `random.Random`, which has no public name.
    """
    from tensorflow.python.eager import context

    before, _Seeding.known = _Seeding.known, getattr(context.context(), "_rng", None)
    return _Seeding.known is not None and _Seeding.known not in (before, _Seeding.restored)


def eager_random() -> dict[str, Any]:
    """Return the states that eager random operations and new datasets take their seeds from.

    Nothing is drawn or created for it.

    Reason: after `tf.random.set_seed`, each eager operation without a seed of its own, and each
    dataset that shuffles without one, draws its seed from one `random.Random` of the context,
    which has no public name. `tf.random.get_global_generator` makes a generator if there is none.

    Returns:
        `seed` and `generator`: the global seed and the state of that `random.Random`, or None if
        the program has set no seed. `global`: algorithm and state of
        `tf.random.get_global_generator()`, or None if it was not used.
    """
    from tensorflow.python.eager import context
    from tensorflow.python.ops import stateful_random_ops

    here, shared = context.context(), stateful_random_ops.global_generator
    found: dict[str, Any] = {"seed": None, "generator": None, "global": None}
    if here._seed is not None:
        version, words, gauss = here._rng.getstate()
        found["seed"] = _as_int(here._seed)
        # As an array: it is a part of each save, and has 625 numbers.
        found["generator"] = (version, np.array(words, np.uint32), gauss)
    if shared is not None:
        found["global"] = (int(shared.algorithm), np.array(shared.state))
    return found


def set_eager_random(state: dict[str, Any]) -> None:
    """Set the states that `eager_random` returned; those that it did not have stay as they are.

    Reason: see `eager_random`. `tf.random.set_seed` only begins the sequence of seeds anew.

    Args:
        state: the result of `eager_random`.
    """
    import tensorflow as tf
    from tensorflow.python.eager import context
    from tensorflow.python.ops import stateful_random_ops

    if state["seed"] is not None:
        # Also if that is the seed already: TensorFlow keeps the kernel of each seed that was drawn
        # in this process, which would not begin anew if the seed is drawn a second time.
        tf.random.set_seed(state["seed"])
        version, words, gauss = state["generator"]
        _Seeding.restored = context.context()._rng
        _Seeding.restored.setstate((version, tuple(int(word) for word in words), gauss))
    if state["global"] is not None:
        algorithm, values = state["global"]
        shared = stateful_random_ops.global_generator
        if shared is not None and int(shared.algorithm) == algorithm:
            # In place: functions that were traced have captured its variable.
            shared.reset(values)
        else:
            tf.random.set_global_generator(tf.random.Generator.from_state(values, alg=algorithm))


_GLOBAL_SEED = "global_seed_generator"
"""The attribute of Keras' global state with the seed generator."""


def global_seed() -> Any:
    """Return the state of Keras' global seed generator, or None if it does not exist.

    Reason: `keras.random` gives no access to it. Its private function would create the generator,
    which draws a number from Python's `random`.
    """
    from keras.src.backend.common.global_state import get_global_attribute

    generator = get_global_attribute(_GLOBAL_SEED)
    return None if generator is None else np.array(generator.state.value)


def set_global_seed(state: Any) -> None:
    """Set the state of Keras' global seed generator, which `keras.random.*` uses by default.

    Reason: see `global_seed`.

    Args:
        state: the result of `global_seed`.
    """
    from keras.src.random.seed_generator import global_seed_generator

    global_seed_generator().state.assign(state)
