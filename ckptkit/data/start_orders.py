"""The orders with which a pass began: what a resume needs of all passes before it.

A shuffle derives its order from a counter that each earlier pass has advanced. For most pipelines
`shuffle_counters.py` can advance the counters alone, once for each pass. For others, only reading
advances them as far: a pass over `shuffle(...).repeat(2)` uses several orders, and how many depends
on where it ended.

An iterator from which nothing was read has empty buffers, so its state is small; and it has the
counters, if all its shuffles take their orders when it is made. So a checkpoint contains that
state, and a resume restores it instead of reading earlier passes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
import xxhash

from ckptkit.compat import tf_checkpoint, tf_data, tf_iterators
from ckptkit.data.shuffle_counters import count_shuffles
from ckptkit.tracking import shuffle_orders


def order_of(iterator: Any) -> str:
    """Return a digest of what the order of an iterator's batches depends on.

    Args:
        iterator: a tf.data iterator.
    """
    return _order_over(tf_iterators.dataset_of(iterator))


def _order_over(dataset: Any) -> str:
    stages, seeds = tf_data.describe_pipeline(dataset), tf_data.order_seeds(dataset)
    return xxhash.xxh3_64_hexdigest(repr((stages, seeds)).encode())


@dataclass(frozen=True)
class StartOrders:
    """The orders with which a pass over data began.

    Args:
        passes: the number of passes before it.
        order: a digest of the pipeline and its seeds; see `order_of`.
        state: the state of its iterator before the first batch, by the names of its parts; empty
            if all passes have the same order.
    """

    passes: int
    order: str
    state: dict[str, bytes] = field(repr=False)

    def to_state(self) -> dict[str, Any]:
        """Return plain values for the checkpoint."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None) -> StartOrders | None:
        """Return the orders from the result of `to_state`; None if there is none."""
        return None if state is None else cls(state["passes"], state["order"], state["state"])

    def fits(self, dataset: Any) -> bool:
        """Return whether data has the same pipeline and seeds.

        Args:
            dataset: the data.
        """
        return isinstance(dataset, tf.data.Dataset) and _order_over(dataset) == self.order

    def restore(self, iterator: Any) -> None:
        """Give a new iterator, and those that follow it, the orders of this pass.

        Args:
            iterator: the iterator.
        """
        state = {part: tf.io.parse_tensor(value, tf.variant) for part, value in self.state.items()}
        if state:
            tf_checkpoint.deserialize(iterator, state)


def orders_at_start(iterator: Any, passes: int) -> StartOrders | None:
    """Return the orders of an iterator, or None if a resume can do without, or has to read anyway.

    Args:
        iterator: an iterator from which nothing was read, whose state can be saved.
        passes: the number of passes before it.
    """
    if not passes or not isinstance(iterator, tf.data.Iterator):
        return None
    dataset = tf_iterators.dataset_of(iterator)
    stage = tf_data.stage_of(dataset)
    if (
        not shuffle_orders.starts_with_orders(stage)
        or shuffle_orders.uses_cache(stage)
        or shuffle_orders.has_unseeded_orders(dataset)
    ):
        return None
    if not shuffle_orders.draws_order(stage):
        return StartOrders(passes, order_of(iterator), {})
    tensors = tf_checkpoint.serialize(iterator)
    if sum(map(tf_data.shuffles_in, tensors.values())) != count_shuffles(dataset):
        return None
    state = {part: tf.io.serialize_tensor(tensor).numpy() for part, tensor in tensors.items()}
    return StartOrders(passes, order_of(iterator), state)


class NoBatches:
    """Takes the place of a dataset for passes that a resume leaves out."""

    def __iter__(self) -> Any:
        return iter(())
