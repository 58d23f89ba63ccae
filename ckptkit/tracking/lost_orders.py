"""Iterators in a state that may draw in another order after a restore."""

from __future__ import annotations

from collections.abc import Iterable

from ckptkit.compat import tf_data
from ckptkit.tracking import pipeline_orders
from ckptkit.tracking.leaves import Leaf, TrackableLeaf


def lost_orders(leaves: Iterable[Leaf]) -> list[str]:
    """What iterators in a state may lose of their orders when they go on from what TensorFlow saves
    of them, in words.
    """
    iterators = [
        (leaf.path, tf_data.iterator_of(leaf.trackable))
        for leaf in leaves
        if isinstance(leaf, TrackableLeaf)
    ]
    found = [
        (path, pipeline_orders.lost_orders(tf_data.stage_of(tf_data.dataset_of(iterator))))
        for path, iterator in iterators
        if iterator is not None
    ]
    return [
        f"{path!r}, an iterator of tf.data, may come to other orders: {why}. A loop over "
        "manager.data(dataset) draws such data again"
        for path, why in found
        if why
    ]
