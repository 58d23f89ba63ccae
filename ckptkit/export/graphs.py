"""What a graph computes, as a digest: the same in each process that traces the same code, and another one where the code has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import xxhash

_OF_THE_PROCESS = frozenset({"shared_name", "container", "config", "config_proto", "executor_type", "seed", "seed2"})
"""Attributes that tell of the process that has traced, and of its devices, and nothing of what is computed."""


def digest(function: Any, values: Callable[[Any], str]) -> str:
    """A digest of what a concrete function computes. Names of operations and functions have no part in it, as they count what the process has made.

    Args:
        function: it.
        values: the digest of a tensor or variable that it closes over.
    """
    graph = function.graph
    definition = graph.as_graph_def()
    library = _Library(definition.library.function)
    variables = {id(variable.handle): variable for variable in function.variables}
    captured = [_of(values, tensor, variables) for tensor in function.captured_inputs]
    known = [f"input {index}" for index in range(len(graph.inputs) - len(captured))] + [f"captured {each}" for each in captured]
    inputs = {tensor.op.name: each for tensor, each in zip(graph.inputs, known, strict=True)}
    nodes = _Nodes(definition.node, inputs, library)
    return _joined([*(nodes.of(tensor.name) for tensor in graph.outputs), "done", *sorted(nodes.of(each.name) for each in graph.control_outputs)])


def _of(values: Callable[[Any], str], tensor: Any, variables: Mapping[int, Any]) -> str:
    if id(tensor) in variables:
        return values(variables[id(tensor)])
    return tensor.dtype.name if tensor.dtype in (tf.resource, tf.variant) else values(tensor)  # what is in a table is no part of a graph


class _Library:
    """The functions that a graph calls, by name."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self._functions = {each.signature.name: each for each in functions}
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        """A function's digest; its name where nobody has it, as for those that TensorFlow brings."""
        if name not in self._functions:
            return name
        if name not in self._known:
            self._known[name] = name  # where it calls itself
            function = self._functions[name]
            nodes = _Nodes(function.node_def, {each.name: f"input {index}" for index, each in enumerate(function.signature.input_arg)}, self)
            returned = [nodes.of(function.ret[each.name]) for each in function.signature.output_arg]
            self._known[name] = _joined([*returned, "done", *sorted(nodes.of(each) for each in function.control_ret.values())])
        return self._known[name]


class _Nodes:
    """Operations, each known by what it does with what comes into it.

    Args:
        nodes: the operations.
        inputs: what the inputs of the function are known by, by their names.
        library: the functions that are called.
    """

    def __init__(self, nodes: Sequence[Any], inputs: Mapping[str, str], library: _Library) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._library = library
        self._known = dict(inputs)

    def of(self, tensor: str) -> str:
        """The digest of a tensor, `operation:output`, or of an operation."""
        wanted, _, output = tensor.removeprefix("^").partition(":")
        to_visit = [wanted]
        while to_visit:
            node = self._nodes.get(to_visit[-1])
            name = to_visit[-1]
            missing = [each for each in map(_operation, node.input if node is not None else ()) if each not in self._known]
            if missing:
                self._known[name] = name  # a loop of old comes back to it
                to_visit += missing
                continue
            self._known[name] = self._digest(node) if node is not None else name
            to_visit.pop()
        return f"{self._known[wanted]}:{output or '0'}"

    def _digest(self, node: Any) -> str:
        data = [f"{self._known[_operation(each)]}:{each.partition(':')[2] or '0'}" for each in node.input if not each.startswith("^")]
        before = sorted(self._known[_operation(each)] for each in node.input if each.startswith("^"))
        attributes = [f"{name}={self._attribute(node.attr[name])}" for name in sorted(node.attr) if name[0] != "_" and name not in _OF_THE_PROCESS]
        return _joined([node.op, *data, "after", *before, "with", *attributes])

    def _attribute(self, value: Any) -> str:
        functions = [value.func] if value.HasField("func") else list(value.list.func)
        if functions:
            return _joined([self._library.of(each.name) for each in functions])
        return str(xxhash.xxh3_128_hexdigest(value.SerializeToString(deterministic=True)))


def _operation(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _joined(parts: Iterable[str]) -> str:
    return str(xxhash.xxh3_128_hexdigest("\0".join(parts).encode()))
