"""Private names around TensorFlow's random operations and its global seed."""

from __future__ import annotations

from typing import Any

import numpy as np


def stateful_random_ops(function: Any) -> list[str]:
    """Operations in a train function that draw from a state inside TensorFlow's kernels.

    Reason: that state can neither be read nor set. The `tf.function` stands in the closure of what
    Keras calls.
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
            found |= {node.op for node in nodes if node.op in _STATEFUL_RANDOM}
    return sorted(found)


class EagerOperations:
    """Notes which operations run in its block and draw from a state inside TensorFlow's kernels,
    where no function is traced that could be looked at (`run_eagerly=True`).

    Reason: nothing public tells of operations as they run.
    """

    def __init__(self) -> None:
        self.random: set[str] = set()

    def __enter__(self) -> EagerOperations:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.add_op_callback(self._ran)
        return self

    def __exit__(self, *error: object) -> None:
        from tensorflow.python.framework import op_callbacks

        op_callbacks.remove_op_callback(self._ran)

    def _ran(self, operation: Any, *rest: Any, **more: Any) -> None:
        name = operation.decode() if isinstance(operation, bytes) else str(operation)
        if name in _STATEFUL_RANDOM:
            self.random.add(name)


_STATEFUL_RANDOM = frozenset(
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


def global_seed() -> Any:
    """The state of the generator behind `keras.random.*` without a seed, as an array; None where it
    was not used yet.

    Reason: `keras.random` gives no way to it. It is not made where it is not there: that would draw
    from Python's `random`.
    """
    from keras.src.backend.common.global_state import get_global_attribute

    generator = get_global_attribute(_GLOBAL_SEED)
    return None if generator is None else np.array(generator.state.value)


def set_global_seed(state: Any) -> None:
    """Gives that generator a state."""
    from keras.src.random.seed_generator import global_seed_generator

    global_seed_generator().state.assign(state)


_GLOBAL_SEED = "global_seed_generator"
