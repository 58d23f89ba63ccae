"""Private names of TensorFlow's random operations and of Keras' global seed.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

STATEFUL_RANDOM_OPS = frozenset(
    {
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "TruncatedNormal",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "RandomShuffle",
        "Multinomial",
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
    again.

    Reason: no public name observes operations as they run, or gives the graph of a traced function.

    Attributes:
        random: the names of these operations.
    """

    def __init__(self) -> None:
        self.random: set[str] = set()
        self._examined: set[str] = set()

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

    def _record(self, operation: Any, *rest: Any, **more: Any) -> None:
        name = operation.decode() if isinstance(operation, bytes) else str(operation)
        if name in STATEFUL_RANDOM_OPS:
            self.random.add(name)
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
                    self.random.add(node.op)
                for attribute in node.attr.values():
                    called = [attribute.func, *attribute.list.func]
                    pending += [each.name for each in called if each.name]


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
