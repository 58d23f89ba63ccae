"""Finds random orders in tf.data pipelines, and those that a restore cannot repeat.

A shuffle derives its order from a counter that all iterators over its dataset share. The counter
advances when the shuffle begins, which is mostly at the first batch of a pass. So reading one batch
for each earlier pass restores the counters. The functions here find the exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ckptkit.compat import tf_data, tf_iterators
from ckptkit.compat.tf_data import Stage
from ckptkit.tracking.leaves import Leaf, TrackableLeaf

_DETERMINISTIC_STAGES = frozenset(
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
"""The stages that use no random numbers, except in their functions.

Their output depends only on their inputs, which are all stages too. A stage that is not in this
list counts as random.
"""


_MAKES_INPUTS = frozenset(
    {
        "BatchDataset",
        "DirectedInterleaveDataset",
        "MapDataset",
        "OptionsDataset",
        "PaddedBatchDataset",
        "ParallelBatchDataset",
        "ParallelMapDataset",
        "PrefetchDataset",
        "TakeDataset",
        "ZipDataset",
    }
)
"""The stages whose iterators make the iterators of their inputs at once.

So a shuffle below them takes its order, and advances its counter, without a draw. Tried with
TensorFlow 2.20 and 2.21; `tests/data/test_orders_without_draws.py` compares each.
"""


def advances_when_made(stage: Stage) -> bool:
    """Return whether making an iterator advances all counters for orders, without a draw.

    That holds for one shuffle below stages that make their inputs at once, in each branch of the
    pipeline. A shuffle below another one takes its order only when that one draws.

    Args:
        stage: the last stage of the pipeline.
    """
    if not draws_order(stage):
        return True
    if stage.random or stage.inside:
        return False
    if stage.kind in SHUFFLES:
        return not any(map(draws_order, stage.inputs))
    return stage.kind in _MAKES_INPUTS and all(map(advances_when_made, stage.inputs))


_MAKES_INPUTS_ONCE = _MAKES_INPUTS | {
    "AssertCardinalityDataset",
    "DenseToRaggedDataset",
    "FilterDataset",
    "FlatMapDataset",
    "IgnoreErrorsDataset",
    "InterleaveDataset",
    "ParallelInterleaveDataset",
    "RebatchDataset",
    "RestructuredDataset",
    "ScanDataset",
    "ShardDataset",
    "SkipDataset",
    "TakeWhileDataset",
    "UnbatchDataset",
    "UniqueDataset",
    "WindowDataset",
}
"""The stages for which one iterator makes exactly one over each input, also without a draw."""


def counts_passes(stage: Stage) -> bool:
    """Return whether every pass advances each counter for orders exactly once.

    Then the number of passes is enough to restore the counters. A shuffle below another one
    advances when the pass reads its first batch, and all others when the iterator is made.

    Args:
        stage: the last stage of the pipeline.
    """
    if not draws_order(stage):
        return True
    if stage.random or stage.inside:
        return False
    if stage.kind == "DirectedInterleaveDataset":
        # A short pass may read nothing from one of its inputs.
        return all(map(advances_when_made, stage.inputs))
    if stage.kind == "ConcatenateDataset":
        # It makes the iterator over its second input only when a pass reaches that.
        return counts_passes(stage.inputs[0]) and not any(map(draws_order, stage.inputs[1:]))
    known = stage.kind in SHUFFLES or stage.kind in _MAKES_INPUTS_ONCE
    return known and all(map(counts_passes, stage.inputs))


def starts_with_orders(stage: Stage) -> bool:
    """Return whether an iterator from which nothing was read has an order from each shuffle.

    Unlike for `counts_passes`, the pass may use more orders later, from the same shuffles.

    Args:
        stage: the last stage of the pipeline.
    """
    if not draws_order(stage):
        return True
    if stage.random or stage.inside:
        return False
    if stage.kind in SHUFFLES:
        return not any(map(draws_order, stage.inputs))
    if stage.kind == "ConcatenateDataset":
        return starts_with_orders(stage.inputs[0]) and not any(map(draws_order, stage.inputs[1:]))
    known = stage.kind == "RepeatDataset" or stage.kind in _MAKES_INPUTS_ONCE
    return known and all(map(starts_with_orders, stage.inputs))


SHUFFLES = frozenset({"RandomDataset", "ShuffleDataset"})
"""The stages that have a counter for orders."""


def draws_order(stage: Stage | None) -> bool:
    """Return whether two passes over a pipeline may return different elements or orders.

    Args:
        stage: the last stage of the pipeline; None if it cannot be inspected, which counts as
            random.
    """
    return (
        stage is None
        or stage.kind not in _DETERMINISTIC_STAGES
        or bool(stage.random)
        or any(map(draws_order, stage.inputs))
        or any(map(draws_order, stage.inside))
    )


def drawing_stages(dataset: Any) -> list[Any]:
    """Return the datasets in a pipeline that have their own counter for orders.

    Args:
        dataset: the last stage.
    """
    return [
        each
        for each in tf_data.stages_in(dataset)
        if tf_data.stage_of(each).kind not in _DETERMINISTIC_STAGES
    ]


def uses_cache(stage: Stage) -> bool:
    """Return whether a pipeline caches, so that its first pass differs from later ones."""
    return any(each.kind == "CacheDataset" for each in _stages(stage))


def caches_order(stage: Stage) -> bool:
    """Return whether a cache may get different elements or another order in another pass."""
    return any(each.kind == "CacheDataset" and draws_order(each) for each in _stages(stage))


def has_unseeded_orders(dataset: Any) -> bool:
    """Return whether a pipeline takes orders from seeds that each process draws anew.

    TensorFlow replaces two zeros by random numbers when an iterator is made, and saves these with
    the iterator.

    Args:
        dataset: the last stage.
    """
    return (0, 0) in tf_data.order_seeds(dataset)


def repeats_orders(stage: Stage) -> bool:
    """Return whether one pass over the data uses several orders, because a shuffle is repeated."""
    return any(
        each.kind == "ShuffleAndRepeatDataset"
        or (each.kind == "RepeatDataset" and draws_order(each.inputs[0]))
        for each in _stages(stage)
    )


def order_not_replayable(stage: Stage, *, counters_only: bool = False) -> str | None:
    """Return why a saved iterator cannot be restored exactly, or None if it can.

    To restore it means to read one batch for each earlier pass, and then to restore the state that
    TensorFlow has saved.

    Args:
        stage: the last stage of the pipeline.
        counters_only: whether only the former matters, for the passes that follow.
    """
    for each in _stages(stage):
        if any(map(draws_order, each.inside)):
            return (
                f"{each.kind} iterates over datasets that were made outside of its function, and "
                f"that shuffle in the middle of a pass or cannot be inspected; a dataset that the "
                f"function makes itself has no such problem"
            )
        reason = _order_drawn_late(each)
        if reason is None and not counters_only:
            reason = _random_state_unsaved(each) or _never_continues(each)
        if reason:
            return reason
    return None


def order_not_restored(stage: Stage) -> str | None:
    """Return why an iterator may lose its order if only its saved state is restored, or None."""
    for each in _stages(stage):
        # An iterator over one pass has used every order before its state is restored. Only a
        # repetition reaches a late stage again.
        below = _stages(each.inputs[0]) if each.kind == "RepeatDataset" else ()
        if reason := (
            _never_continues(each)
            or _random_state_unsaved(each)
            or next(filter(None, map(_order_drawn_late, below)), None)
        ):
            return reason
    return None


def _order_drawn_late(stage: Stage) -> str | None:
    """Return why a stage chooses an order later than at the first batch of a pass, or None."""
    if stage.kind == "ConcatenateDataset" and any(map(draws_order, stage.inputs[1:])):
        return "a concatenated dataset may choose its order only when a pass reaches it"
    return None


def _random_state_unsaved(stage: Stage) -> str | None:
    """Return why the random numbers of a stage's functions are not saved, or None."""
    if stage.random and not stage.once:
        return (
            f"a function of {stage.kind} uses {', '.join(stage.random)}, whose state TensorFlow "
            f"does not save"
        )
    return None


def _never_continues(stage: Stage) -> str | None:
    """Return why a restored iterator may hang in a stage, or None."""
    if stage.hangs:
        return (
            "it mixes finite datasets until the last one has ended (sample_from_datasets or "
            "choose_from_datasets with stop_on_empty_dataset=False), and once one has ended, an "
            "iterator that TensorFlow restores waits for ever"
        )
    return None


def _stages(stage: Stage) -> Iterator[Stage]:
    """Yield a stage and all stages from which it reads."""
    yield stage
    for each in stage.inputs:
        yield from _stages(each)


def iterators_losing_order(leaves: Iterable[Leaf]) -> list[str]:
    """Return a sentence for each iterator of a state that may lose its order in a restore.

    Args:
        leaves: the leaves of the state.
    """
    iterators = [
        (leaf.path, tf_iterators.iterator_of(leaf.trackable))
        for leaf in leaves
        if isinstance(leaf, TrackableLeaf)
    ]
    found = [
        (path, order_not_restored(tf_data.stage_of(tf_iterators.dataset_of(iterator))))
        for path, iterator in iterators
        if iterator is not None
    ]
    return [
        f"{path!r}, an iterator of tf.data, may not continue as it was: {why}. A loop over "
        "manager.data(dataset) draws such data again"
        for path, why in found
        if why
    ]
