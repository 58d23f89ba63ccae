"""Private names of tf.data: iterators, datasets, and the graph of a pipeline."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import tensorflow as tf

from ckptkit.compat.tf_random import _STATEFUL_RANDOM


def iterator_of(value: Any) -> Any:
    """The iterator of tf.data that a value is, or holds as `as_numpy_iterator` does; or None.
    Reason: that one has no public way to it.
    """
    held = getattr(value, "_iterator", value)
    return held if isinstance(held, tf.data.Iterator) else None


def dataset_of(iterator: Any) -> Any:
    """The dataset that an iterator of tf.data iterates over. Reason: in `fit` Keras makes the
    iterator and keeps the dataset.
    """
    return iterator._dataset


@dataclass(frozen=True)
class Stage:
    """A stage of a tf.data pipeline.

    Args:
        kind: its class, as `ShuffleDataset`.
        inputs: the stages that it reads from.
        inside: the pipelines that its functions use and did not make themselves, or that are its
            elements; None for one that cannot be looked into.
        random: operations in its functions that draw from a state inside TensorFlow's kernels.
        once: whether its functions are called once in a pass.
    """

    kind: str
    inputs: tuple[Stage, ...] = ()
    inside: tuple[Stage | None, ...] = ()
    random: tuple[str, ...] = ()
    once: bool = False


def stage_of(dataset: Any) -> Stage:
    """A pipeline by its last stage. Reason: tf.data describes its pipelines nowhere else in Python.

    A pipeline does not change, and looking into a function that holds a large constant takes its
    time: each is looked at once.
    """
    if dataset not in _STAGES:
        _STAGES[dataset] = _look(dataset)
    return _STAGES[dataset]


_STAGES: WeakKeyDictionary[Any, Stage] = WeakKeyDictionary()


def _look(dataset: Any) -> Stage:
    inputs, functions = dataset._inputs(), dataset._functions()
    random = sorted(
        {
            node.op
            for function in functions
            for node in _nodes_of(function)
            if node.op in _STATEFUL_RANDOM
        }
    )
    inside = tuple(each for function in functions for each in _inside(function))
    if not inputs and any(
        isinstance(each, tf.data.DatasetSpec) for each in tf.nest.flatten(dataset.element_spec)
    ):
        inside = (*inside, None)  # its elements are pipelines
    once = len(inputs) == 1 and int(inputs[0].cardinality()) == 1
    return Stage(
        type(dataset).__name__.lstrip("_"),
        tuple(map(stage_of, inputs)),
        inside,
        tuple(random),
        once,
    )


def _inside(function: Any) -> list[Stage | None]:
    """The pipelines that a function uses and did not make: they are tensors there, and found again
    among the names that it was written with.
    """
    used = [tensor for tensor in function.function.captured_inputs if tensor.dtype == tf.variant]
    if not used:
        return []
    try:
        names = inspect.getclosurevars(function._func)
    except (
        TypeError,
        ValueError,
    ):  # no function of Python, or one whose names have no values any more
        return [None] * len(used)
    known = {
        id(each._variant_tensor): each
        for each in (*names.nonlocals.values(), *names.globals.values())
        if isinstance(each, tf.data.Dataset)
    }
    return [stage_of(known[id(tensor)]) if id(tensor) in known else None for tensor in used]


def _nodes_of(function: Any) -> list[Any]:
    """The operations of a function of a pipeline, and of the functions in it."""
    graph = function.function.graph.as_graph_def()
    return [*graph.node, *(node for each in graph.library.function for node in each.node_def)]


def describe_pipeline(dataset: Any) -> list[str]:
    """A pipeline's stages with the sizes that decide on the order of its rows, to see whether it is
    the same one. Reason: as `stage_of`.
    """
    sizes = [
        f"{name.lstrip('_')}={int(size)}"
        for name in ("_batch_size", "_buffer_size", "_cycle_length", "_count")
        if (size := getattr(dataset, name, None)) is not None
        and isinstance(size, int | tf.__internal__.EagerTensor)
    ]
    own = f"{type(dataset).__name__.lstrip('_')}({', '.join(sizes)})"
    return [own, *(text for each in dataset._inputs() for text in describe_pipeline(each))]


def unseeded_random_ops(dataset: Any) -> list[str]:
    """Operations in a pipeline's functions that draw random numbers and have no seed, neither their
    own nor a global one.

    Reason: as `stage_of`; and an operation's seeds are only in the graph of the function that it is
    in.
    """
    nodes = [node for function in dataset._functions() for node in _nodes_of(function)]
    found = {
        node.op
        for node in nodes
        if node.op in _STATEFUL_RANDOM and not node.attr["seed"].i and not node.attr["seed2"].i
    }
    return sorted(found.union(*(unseeded_random_ops(each) for each in dataset._inputs())))


def shuffles_in(state: tf.Tensor) -> int:
    """How many shuffles hold data in an iterator's saved state.

    Reason: a shuffle keeps the counter from which later epochs draw their order only while it holds
    data, and the state is a variant that nothing else looks into.
    """
    return int(tf.io.serialize_tensor(state).numpy().count(b"epoch_num_random_samples"))
