"""Pipelines of tf.data: which stages draw random orders, and when.

A shuffle draws its order from a counter that all iterators over a dataset share. It moves when the
shuffle begins, which is mostly when the first batch of a pass is drawn: so one batch of each pass
that is over brings a run back to where its counters were. Not everything is like that.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.compat.tf_data import Stage

_WITHOUT_ORDER = frozenset(
    {
        "AssertCardinalityDataset",
        "BatchDataset",
        "CacheDataset",
        "ConcatenateDataset",
        "DenseToRaggedDataset",
        "FilterDataset",
        "FlatMapDataset",
        "GroupByWindowDataset",
        "IgnoreErrorsDataset",
        "InterleaveDataset",
        "MapDataset",
        "OptionsDataset",
        "PaddedBatchDataset",
        "ParallelBatchDataset",
        "ParallelInterleaveDataset",
        "ParallelMapDataset",
        "PrefetchDataset",
        "RangeDataset",
        "RebatchDataset",
        "RepeatDataset",
        "RestructuredDataset",
        "ScanDataset",
        "ShardDataset",
        "SkipDataset",
        "TFRecordDatasetV2",
        "TakeDataset",
        "TakeWhileDataset",
        "TensorDataset",
        "TensorSliceDataset",
        "UnbatchDataset",
        "UniqueDataset",
        "WindowDataset",
        "ZipDataset",
    }
)
"""Stages that draw no random numbers but in their functions: what they give follows from what they
get, and all of that is among their inputs.
"""


def draws_order(stage: Stage | None) -> bool:
    """Whether two passes over a pipeline may give other elements, or others first; also where that
    is not known.
    """
    return (
        stage is None
        or stage.kind not in _WITHOUT_ORDER
        or bool(stage.random)
        or any(map(draws_order, stage.inputs))
        or any(map(draws_order, stage.inside))
    )


def keeps_a_cache(stage: Stage) -> bool:
    """Whether a pipeline caches, so that its first pass over the data is another one than the later
    ones.
    """
    return any(each.kind == "CacheDataset" for each in _stages(stage))


def repeats_orders(stage: Stage) -> bool:
    """Whether a pass over the data draws several orders, because the pipeline repeats what draws
    one.
    """
    return any(
        each.kind == "ShuffleAndRepeatDataset"
        or (each.kind == "RepeatDataset" and draws_order(each.inputs[0]))
        for each in _stages(stage)
    )


def hidden_orders(stage: Stage) -> str | None:
    """Why an iterator's state, as TensorFlow saves it, and one batch of each pass that is over do
    not lead back to the place; or None.
    """
    for each in _stages(stage):
        if any(map(draws_order, each.inside)):
            return (
                f"{each.kind} goes over datasets that were made outside of its function, and that "
                "draw orders in the middle of a pass or cannot "
                f"be looked into; a dataset that the function makes itself does not have that"
            )
        if said := _draws_later(each) or _draws_unsaved(each):
            return said
    return None


def lost_orders(stage: Stage) -> str | None:
    """Why an iterator that goes on from its saved state alone may come to other orders; or None."""
    for each in _stages(stage):
        below = _stages(each.inputs[0]) if each.kind == "RepeatDataset" else ()
        if said := _draws_unsaved(each) or next(filter(None, map(_draws_later, below)), None):
            return said
    return None


def _draws_later(stage: Stage) -> str | None:
    if stage.kind == "ConcatenateDataset" and any(map(draws_order, stage.inputs[1:])):
        return "what is concatenated may draw an order when a pass over the data has come to it"
    return None


def _draws_unsaved(stage: Stage) -> str | None:
    if stage.random and not stage.once:
        return f"a function of {stage.kind} draws from {', '.join(stage.random)}, whose state TensorFlow does not save"
    return None


def _stages(stage: Stage) -> Iterator[Stage]:
    yield stage
    for each in stage.inputs:
        yield from _stages(each)
