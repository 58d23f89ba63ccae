"""Computes a digest of a graph that is equal in all processes that trace the same code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf
import xxhash

_OF_THE_PROCESS = frozenset(
    {"shared_name", "container", "config", "config_proto", "executor_type", "seed", "seed2"}
)
"""Attributes of operations that depend on the tracing process, not on the computation."""


def digest(function: Any, values: Callable[[Any], str]) -> str:
    """Return a digest of what a concrete function computes.

    It covers each operation with its attributes and the operations that compute its inputs. It
    ignores names, because they contain counters of the process. It ignores the order, because the
    variables that a loop captures are ordered differently in each tracing.

    Args:
        function: the concrete function.
        values: returns the digest of a captured tensor or variable.
    """
    definition = function.graph.as_graph_def()
    variables = {id(variable.handle) for variable in function.variables}
    closed_over = [
        *function.variables,
        *(tensor for tensor in function.captured_inputs if id(tensor) not in variables),
    ]
    # The contents of a lookup table are not part of a graph.
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
    """Return one operation as text: its kind, attributes and inputs.

    For a call it returns the kind only, because the digest contains the called functions.
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
