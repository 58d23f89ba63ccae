"""Wraps private names of traced functions: the variables that they use, and what they do with them.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_READS = frozenset(
    {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarIsInitializedOp", "VariableShape"}
)
"""Operations that use a variable without changing it."""

_CALLS = {
    "PartitionedCall": (0, ("f",)),
    "StatefulPartitionedCall": (0, ("f",)),
    "If": (1, ("then_branch", "else_branch")),
    "StatelessIf": (1, ("then_branch", "else_branch")),
    "While": (0, ("cond", "body")),
    "StatelessWhile": (0, ("cond", "body")),
    "Case": (1, ("branches",)),
}
"""Operations that call functions: the input that is a function's first, and the attributes."""

_NESTED_STAGES = {
    "FilterDataset": 0,
    "FlatMapDataset": 0,
    "InterleaveDataset": 2,
    "MapDataset": 0,
    "ParallelInterleaveDatasetV4": 5,
    "ParallelMapDatasetV2": 1,
    "TakeWhileDataset": 0,
}
"""Stages of a pipeline that a function makes, and their inputs after those of their function.

A function of a stage takes the elements first, and then what it captures.
"""

_REFUSED = ("ReduceDataset", "AnonymousIterator")
"""Beginnings of names that prevent it, though they contain one of the parts below.
"""

_SAVED_ALL_THE_SAME = ("Assert", "Dataset", "Iterator", "LookupTable", "Optional", "Print")
"""Parts of names of stateful operations that do not prevent saving an iterator.
"""


@dataclass(frozen=True)
class Capture:
    """A variable that a traced function uses but did not create.

    Args:
        variable: the `tf.Variable`.
        is_written: whether the function may change it.
    """

    variable: Any
    is_written: bool


def captures_of(function: Any) -> list[Capture]:
    """Return the variables that a concrete function uses, in the program's order.

    Reason: `ConcreteFunction.variables` fails if one of them is deleted, and no public name shows
    whether a function writes to a variable.

    Args:
        function: a concrete function.
    """
    graph = function.graph
    variables = {
        id(variable.handle): variable
        for reference in graph._weak_variables
        if (variable := reference()) is not None
    }
    if not variables:
        return []
    definition = graph.as_graph_def()
    library = {each.signature.name: each for each in definition.library.function}
    # The graph's list of variables does not follow the program's order, but its captures are in the
    # order of first use.
    return [
        Capture(variables[id(outer)], _writes(definition.node, inner.name.split(":")[0], library))
        for outer, inner in graph.captures
        if id(outer) in variables
    ]


def _writes(nodes: Iterable[Any], name: str, library: dict[str, Any]) -> bool:
    """Return whether any of the operations may change the variable that is their input `name`."""
    return any(
        _changes(node, index, library)
        for node in nodes
        for index, given in enumerate(node.input)
        if given.split(":")[0] == name
    )


def _changes(node: Any, index: int, library: dict[str, Any]) -> bool:
    """Return whether an operation may change the variable at an input."""
    if node.op in _READS:
        return False
    functions, place = _called(node, index, library)
    if not functions:
        return True  # an unknown operation counts as one that writes
    return any(
        place >= len(each.signature.input_arg)
        or _writes(each.node_def, each.signature.input_arg[place].name, library)
        for each in functions
    )


def _called(node: Any, index: int, library: dict[str, Any]) -> tuple[list[Any], int]:
    """Return the functions that an operation calls with an input, and the input's place in each."""
    if node.op in _CALLS:
        before, attributes = _CALLS[node.op]
        return _functions_of(node, attributes, library), index - before
    functions = _functions_of(node, ("f", "predicate"), library)
    if node.op not in _NESTED_STAGES or not functions:
        return [], 0
    inputs = sum(1 for each in node.input if not each.startswith("^"))
    from_end = inputs - _NESTED_STAGES[node.op] - index
    return functions, len(functions[0].signature.input_arg) - from_end


def _functions_of(node: Any, attributes: Iterable[str], library: dict[str, Any]) -> list[Any]:
    return [
        library[each.name]
        for attribute in attributes
        if attribute in node.attr
        for each in (node.attr[attribute].func, *node.attr[attribute].list.func)
        if each.name in library
    ]


def unsavable_ops(function: Any) -> list[str]:
    """Return the operations of a concrete function that prevent saving an iterator over it.

    Reason: TensorFlow refuses to save an iterator if its functions have state. But it checks only
    the stages that are in use at that moment.
    """
    from tensorflow.python.framework import op_def_registry

    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    found = set()
    for node in nodes:
        operation = op_def_registry.get(node.op)
        if (
            operation is not None
            and operation.is_stateful
            and node.op not in ("Placeholder", *_CALLS)
            and (
                node.op.startswith(_REFUSED)
                or not any(part in node.op for part in _SAVED_ALL_THE_SAME)
            )
        ):
            found.add(node.op)
    return sorted(found)


def traced_functions(function: Any) -> Iterator[Any]:
    """Yield the concrete functions that a train function of Keras uses.

    Reason: the `tf.function` is in the closure of the function that Keras calls, and the list of
    its traces has no public name.
    """
    for cell in getattr(function, "__closure__", None) or ():
        listed: Callable[[], list[Any]] | None = getattr(
            cell.cell_contents, "_list_all_concrete_functions", None
        )
        if listed is not None:
            yield from listed()
