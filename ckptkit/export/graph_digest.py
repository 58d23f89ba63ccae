"""What a graph computes, as a digest: the same in each process that traces the same code, and
another one where the code has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf
import xxhash

_OF_THE_PROCESS = frozenset(
    {"shared_name", "container", "config", "config_proto", "executor_type", "seed", "seed2"}
)
"""Attributes that tell of the process that has traced, and of its devices, and nothing of what is
computed.
"""


def digest(function: Any, values: Callable[[Any], str]) -> str:
    """A digest of what a concrete function computes.

    It is that of its operations, each with its attributes and with those that it takes its inputs
    from, in no order: names count what the process has made, and what a loop closes over comes in
    another order each time that it is traced.

    Args:
        function: it.
        values: the digest of a tensor or variable that it closes over.
    """
    definition = function.graph.as_graph_def()
    variables = {id(variable.handle) for variable in function.variables}
    closed_over = [
        *function.variables,
        *(tensor for tensor in function.captured_inputs if id(tensor) not in variables),
    ]
    # What is in a table is no part of a graph.
    found = [values(each) for each in closed_over if each.dtype not in (tf.resource, tf.variant)]
    functions = {each.signature.name: each for each in definition.library.function}
    to_visit, seen = [definition.node], set[str]()
    while to_visit:
        nodes = to_visit.pop()
        operations = {node.name: node.op for node in nodes}
        found += [_operation(node, operations) for node in nodes]
        called = {
            each.name
            for node in nodes
            for value in node.attr.values()
            for each in _functions_in(value)
        } & functions.keys()
        to_visit += [functions[name].node_def for name in called - seen]
        seen |= called
    return _joined(sorted(found))


def _operation(node: Any, operations: Mapping[str, str]) -> str:
    """One operation: what it is, and what comes into it from where. Of a call only what it is: its
    functions tell the rest.
    """
    if any(_functions_in(value) for value in node.attr.values()):
        return str(node.op)
    sources = [each.partition(":") for each in node.input if not each.startswith("^")]
    data = [f"{operations.get(name, 'input')}:{output or '0'}" for name, _, output in sources]
    attributes = [
        f"{name}={_bytes(node.attr[name])!r}"
        for name in sorted(node.attr)
        if name[0] != "_" and name not in _OF_THE_PROCESS
    ]
    return _joined([node.op, *data, *attributes])


def _bytes(value: Any) -> bytes:
    return bytes(value.SerializeToString(deterministic=True))


def _functions_in(value: Any) -> list[Any]:
    return [value.func] if value.HasField("func") else list(value.list.func)


def _joined(parts: Iterable[str]) -> str:
    return str(xxhash.xxh3_128_hexdigest("\0".join(parts).encode()))
