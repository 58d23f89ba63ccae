"""Private names of tf.data: what makes the elements or the order of a pipeline depend on timing.

Tried with TensorFlow 2.20 and 2.21.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import tensorflow as tf

from ckptkit.compat import tf_captures
from ckptkit.compat.tf_data import nodes_in, stages_in
from ckptkit.compat.tf_random import STATEFUL_RANDOM_OPS


def parallel_draws(dataset: Any) -> list[str]:
    """Return what functions of a pipeline that run in parallel draw from, or change.

    The threads take turns in another order each time, so no other attempt repeats the results.

    Reason: see `stage_of`; and no public name says whether operations are deterministic, in which
    case TensorFlow does not run such functions in parallel.

    Returns:
        Names of random operations and of variables.
    """
    from tensorflow.python.framework import config

    if config.is_op_determinism_enabled():
        return []
    return sorted(set(_parallel_draws(dataset)))


def _parallel_draws(dataset: Any) -> Iterator[str]:
    if _is_parallel(dataset):
        for function in dataset._functions():
            yield from (n.op for n in nodes_in(function) if n.op in STATEFUL_RANDOM_OPS)
            for capture in tf_captures.captures_of(function.function):
                if capture.is_written:
                    yield f"the variable {capture.variable.name.partition(':')[0]!r}"
    for each in dataset._inputs():
        yield from _parallel_draws(each)


def _is_parallel(dataset: Any) -> bool:
    """Return whether a stage runs its function in parallel; a number of -1 means "as many as fit".

    The stages `map_and_batch` and `interleave` have their number under other names.
    """
    calls = getattr(dataset, "_num_parallel_calls", None)
    calls = getattr(dataset, "_num_parallel_calls_t", calls)
    return calls is not None and int(calls) != 1


def comes_in_any_order(dataset: Any) -> bool:
    """Return whether a stage that runs in parallel gives its elements in the order of their ends.

    A stage inside a function counts too, as in the files that an `interleave` reads in parallel.

    Reason: see `stage_of`; the public options do not include the argument of a stage.
    """
    if dataset not in _ANY_ORDER:
        _ANY_ORDER[dataset] = _comes_in_any_order(dataset)
    return _ANY_ORDER[dataset]


_ANY_ORDER: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""Kept, because every epoch asks, and to read a function with a large constant takes long."""


def _comes_in_any_order(dataset: Any) -> bool:
    by_options = dataset.options().deterministic is False
    return any(
        _gives_any_order(stage, by_options)
        or any(
            _makes_any_order(node, by_options)
            for function in stage._functions()
            for node in nodes_in(function)
        )
        for stage in stages_in(dataset)
    )


def _gives_any_order(stage: Any, by_options: bool) -> bool:
    own = _determinism_of(stage)
    return _is_parallel(stage) and (own == "false" or (own == "default" and by_options))


def _makes_any_order(node: Any, by_options: bool) -> bool:
    """Return whether an operation in a function makes a stage that gives any order."""
    if "deterministic" not in node.attr or "Parallel" not in node.op:
        return False
    own = node.attr["deterministic"].s
    return own == b"false" or (own == b"default" and by_options)


def _determinism_of(stage: Any) -> str:
    """Return what a stage was given as `deterministic`: `true`, `false` or `default`."""
    if type(stage).__name__.lstrip("_") != "ParallelInterleaveDataset":
        return str(getattr(stage, "_deterministic", "default"))
    # Only the graph up to this stage: its input is mostly a list of files.
    text = tf.raw_ops.DatasetToGraphV2(input_dataset=stage._variant_tensor).numpy()
    nodes = [
        node
        for node in tf.compat.v1.GraphDef.FromString(text).node
        if node.op.startswith("ParallelInterleaveDataset")
    ]
    # The stage itself comes last.
    return nodes[-1].attr["deterministic"].s.decode() if nodes else "default"
