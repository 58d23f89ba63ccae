"""Wraps private names of tf.data: iterators, datasets, and the graph of a pipeline.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import tensorflow as tf

from ckptkit.compat.tf_random import STATEFUL_RANDOM_OPS


def inputs_of(dataset: Any) -> list[Any]:
    """Return the datasets from which a dataset reads.

    Reason: see `stage_of`.
    """
    return list(dataset._inputs())


@dataclass(frozen=True)
class Stage:
    """A stage of a tf.data pipeline.

    Args:
        kind: its class, such as `ShuffleDataset`.
        inputs: the stages that it reads from.
        inside: the pipelines that its functions use but did not make, or that are its elements;
            None for a pipeline that cannot be examined.
        random: the operations in its functions that use a random state inside TensorFlow's kernels.
        once: whether its functions are called only once in a pass.
        hangs: whether a restored iterator may wait for ever in this stage.
    """

    kind: str
    inputs: tuple[Stage, ...] = ()
    inside: tuple[Stage | None, ...] = ()
    random: tuple[str, ...] = ()
    once: bool = False
    hangs: bool = False


def stage_of(dataset: Any) -> Stage:
    """Return the last stage of a pipeline, from which all others can be reached.

    The result is kept as long as the dataset exists, because a pipeline never changes, and to
    examine a function with a large constant takes long.

    Reason: tf.data has no public description of its pipelines.
    """
    if dataset not in _STAGES:
        _STAGES[dataset] = _read_stage(dataset)
    return _STAGES[dataset]


_STAGES: WeakKeyDictionary[Any, Stage] = WeakKeyDictionary()


def _read_stage(dataset: Any) -> Stage:
    inputs, functions = dataset._inputs(), dataset._functions()
    random = sorted(
        {
            node.op
            for function in functions
            for node in nodes_in(function)
            if node.op in STATEFUL_RANDOM_OPS
        }
    )
    inside = tuple(each for function in functions for each in _captured_pipelines(function))
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
        _hangs(dataset),
    )


def _hangs(dataset: Any) -> bool:
    """Return whether a stage mixes datasets until the last of them has ended.

    TensorFlow's saved state does not record which datasets have ended. So a restored iterator reads
    from an ended dataset for ever, and even ignores signals.
    """
    return getattr(dataset, "_stop_on_empty_dataset", True) is False and any(
        int(each.cardinality()) != tf.data.INFINITE_CARDINALITY for each in dataset._data_inputs
    )


def _captured_pipelines(function: Any) -> list[Stage | None]:
    """Return the last stages of the pipelines that a function uses but did not make."""
    return [
        None if dataset is None else stage_of(dataset) for dataset in _captured_datasets(function)
    ]


def _captured_datasets(function: Any) -> list[Any]:
    """Return the datasets that a function uses but did not make; None for each unknown one.

    The function's graph has them as tensors, which are compared with the datasets among the names
    that the Python function uses.
    """
    used = [tensor for tensor in function.function.captured_inputs if tensor.dtype == tf.variant]
    if not used:
        return []
    try:
        names = inspect.getclosurevars(function._func)
    except (
        TypeError,
        ValueError,
    ):  # not a Python function, or its names have no values any more
        return [None] * len(used)
    known = {
        id(each._variant_tensor): each
        for each in (*names.nonlocals.values(), *names.globals.values())
        if isinstance(each, tf.data.Dataset)
    }
    return [known.get(id(tensor)) for tensor in used]


@dataclass(frozen=True)
class PipelineFunction:
    """A function of a pipeline.

    Args:
        function: the concrete function.
        cache: the stage that caches its results, or None.
        starts_late: whether its stage may give its first element in the middle of a pass.
    """

    function: Any
    cache: Any = None
    starts_late: bool = False


def functions_of(
    dataset: Any, cache: Any = None, *, starts_late: bool = False
) -> list[PipelineFunction]:
    """Return the functions of all stages of a pipeline.

    Reason: see `stage_of`.

    Args:
        dataset: the last stage.
        cache: the stage with `cache()` that `dataset` feeds, if there is one.
        starts_late: whether another pipeline comes before this one in a pass.
    """
    found = []
    for function in dataset._functions():
        found.append(PipelineFunction(function.function, cache, starts_late))
        for inside in _captured_datasets(function):
            if inside is not None:
                found += functions_of(inside, cache, starts_late=True)
    kind = type(dataset).__name__.lstrip("_")
    below = dataset if kind == "CacheDataset" else cache
    for number, each in enumerate(dataset._inputs()):
        late = starts_late or (kind == "ConcatenateDataset" and number > 0)
        found += functions_of(each, below, starts_late=late)
    return found


def nodes_in(function: Any) -> list[Any]:
    """Return the operations of a pipeline's function, including nested functions.

    Reason: see `stage_of`.

    Args:
        function: one of `dataset._functions()`.
    """
    graph = function.function.graph.as_graph_def()
    return [*graph.node, *(node for each in graph.library.function for node in each.node_def)]


def describe_pipeline(dataset: Any) -> list[str]:
    """Return a pipeline's stages with the sizes on which the order of its rows depends.

    Two descriptions are equal if the pipelines read their rows in the same way.

    Reason: see `stage_of`.
    """
    sizes = [
        f"{name.lstrip('_')}={int(size)}"
        for name in ("_batch_size", "_buffer_size", "_cycle_length", "_count")
        if (size := getattr(dataset, name, None)) is not None
        and isinstance(size, int | tf.__internal__.EagerTensor)
    ]
    own = f"{type(dataset).__name__.lstrip('_')}({', '.join(sizes)})"
    return [own, *(text for each in dataset._inputs() for text in describe_pipeline(each))]


def stages_in(dataset: Any) -> list[Any]:
    """Return the datasets of a pipeline, including those that its functions use.

    Reason: see `stage_of`.
    """
    used = [
        each
        for function in dataset._functions()
        for each in _captured_datasets(function)
        if each is not None
    ]
    return [dataset, *(stage for each in (*dataset._inputs(), *used) for stage in stages_in(each))]


def unseeded_random_ops(dataset: Any) -> list[str]:
    """Return the random operations in a pipeline that have neither their own nor a global seed.

    Reason: see `stage_of`; also, only a function's graph contains the seeds of its operations.
    """
    nodes = [node for function in dataset._functions() for node in nodes_in(function)]
    found = {
        node.op
        for node in nodes
        if node.op in STATEFUL_RANDOM_OPS and not node.attr["seed"].i and not node.attr["seed2"].i
    }
    return sorted(found.union(*(unseeded_random_ops(each) for each in dataset._inputs())))


def order_seeds(dataset: Any) -> list[tuple[int, int]]:
    """Return the seeds of the stages that draw orders; two zeros for a stage without a seed.

    Reason: only private attributes contain the seeds of stages.
    """
    return [
        (int(stage._seed), int(stage._seed2))
        for stage in stages_in(dataset)
        if hasattr(stage, "_seed") and hasattr(stage, "_seed2")
    ]


def shuffles_in(state: tf.Tensor) -> int:
    """Return the number of shuffles that have data in an iterator's saved state.

    Reason: a shuffle saves the counter for the order of later epochs only while it has data, and no
    public function reads the state, which is a variant.
    """
    return int(tf.io.serialize_tensor(state).numpy().count(b"epoch_num_random_samples"))


@dataclass(frozen=True)
class Buffered:
    """What an iterator over a pipeline buffers, by the description of the pipeline.

    Args:
        rows: the number of elements; None if unknown.
        size_bytes: their size in bytes; None if unknown.
    """

    rows: int | None
    size_bytes: int | None


def buffered(dataset: Any) -> Buffered:
    """Return what an iterator over a pipeline buffers.

    Reason: only private attributes of a stage contain its size, and to measure it would take the
    seconds that this avoids. A cache in memory counts, because it is part of an iterator's state.
    """
    found = [_buffered_in(stage) for stage in stages_in(dataset)]
    rows, sizes = (each.rows for each in found), (each.size_bytes for each in found)
    return Buffered(_sum_of(rows), _sum_of(sizes))


def _sum_of(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if None in known else sum(each for each in known if each is not None)


def _buffered_in(stage: Any) -> Buffered:
    kind = type(stage).__name__.lstrip("_")
    if kind not in ("ShuffleDataset", "PrefetchDataset", "CacheDataset"):
        return Buffered(0, 0)
    (below,) = stage._inputs()
    in_all = int(below.cardinality())  # negative if unknown
    held: int | None
    if kind == "CacheDataset":
        if bytes(stage._filename.numpy()):
            return Buffered(0, 0)
        held = in_all if in_all >= 0 else None
    else:
        buffer = int(stage._buffer_size)
        # TensorFlow chooses the size of a prefetch that names none: a few elements.
        buffer = buffer if buffer >= 0 else _FEW_ELEMENTS
        held = buffer if in_all < 0 else min(in_all, buffer)
    each = _element_bytes(stage.element_spec)
    if each is None and kind == "PrefetchDataset":
        return Buffered(held, 0)  # mostly batches, the last of which may be smaller: few
    return Buffered(held, None if each is None or held is None else held * each)


_FEW_ELEMENTS = 8


def _element_bytes(spec: Any) -> int | None:
    """Return the size of one element in bytes, or None if it is not fixed."""
    total = 0
    for each in tf.nest.flatten(spec):
        size = each.shape.num_elements() if isinstance(each, tf.TensorSpec) else None
        if size is None or each.dtype in (tf.string, tf.variant, tf.resource):
            return None
        total += size * each.dtype.size
    return total
