"""Decides what each save stores of an iterator's position, by what that costs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_checkpoint, tf_data, tf_data_timing, tf_iterators
from ckptkit.data.draw_meter import DrawMeter
from ckptkit.data.start_orders import StartOrders, order_of, orders_at_start
from ckptkit.policies.anchor_policies import PositionCosts, PositionForm
from ckptkit.tracking import shuffle_orders
from ckptkit.tracking.data_anchor import AnchorUse, DataAnchor
from ckptkit.tracking.leaves import Tensors


@dataclass(frozen=True)
class PositionForSave:
    """What one snapshot stores of the position of an iterator.

    Args:
        tensors: the iterator's state; empty if batches are counted.
        anchor: the anchor from which they are counted; None for the start of the iterator.
        since: the number of batches from there.
        order: see `order_of`.
    """

    tensors: Tensors
    anchor: DataAnchor | None = None
    since: int = 0
    order: str = ""

    @property
    def is_counted(self) -> bool:
        """Whether a resume draws batches again."""
        return not self.tensors

    def uses(self, key: str) -> tuple[AnchorUse, ...]:
        """Return from where a snapshot counts batches, if it does.

        Args:
            key: see `AnchorUse`.
        """
        if not self.is_counted:
            return ()
        return (AnchorUse(self.anchor, key, self.since, self.order),)


OTHER_ORDER = (
    "the data has another pipeline or other seeds than when the checkpoint was saved, and its "
    "batches are counted: rows may be missed or repeated in this epoch. Give shuffles the same "
    "seed in every start, or pass anchors=ckptkit.AnchorEveryNBatches(1) to save their buffers"
)


def can_count(iterator: Any) -> bool:
    """Return whether another process gets the same batches by drawing the same number.

    Args:
        iterator: an iterator.
    """
    if not tf_iterators.has_dataset(iterator):
        return False
    dataset = tf_iterators.dataset_of(iterator)
    if tf_data_timing.comes_in_any_order(dataset) or tf_data.unseeded_random_ops(dataset):
        return False
    if not shuffle_orders.has_unseeded_orders(dataset):
        return True
    if isinstance(iterator, tf.distribute.DistributedIterator):
        return False  # it has no state that could be saved
    # The state before the first batch has the order only if all stages have taken theirs by then;
    # and it is not small if a cache is a part of it.
    stage = tf_data.stage_of(dataset)
    return shuffle_orders.advances_when_made(stage) and not shuffle_orders.uses_cache(stage)


@dataclass(frozen=True)
class EarlierDraws:
    """What earlier attempts have read from an iterator, at a resume.

    Args:
        drawn: the number of batches that the run has read from it.
        missing: the number of these that this process has skipped.
        anchor: the newest anchor, if the run was resumed from one.
        orders: the orders with which its pass began; see `StartOrders`.
    """

    drawn: int = 0
    missing: int = 0
    anchor: DataAnchor | None = None
    orders: StartOrders | None = None


NOTHING_DRAWN = EarlierDraws()


class IteratorPosition:
    """The position of one tf.data iterator.

    Args:
        iterator: the iterator.
        meter: what the pipeline costs.
        earlier: what earlier attempts have read from it.
        countable: whether the batches depend on nothing but the data.

    Attributes:
        meter: what the pipeline costs.
        taken: what the newest snapshot stores.
        orders: the orders with which its pass began, if a resume needs them.
    """

    def __init__(
        self,
        iterator: Any,
        meter: DrawMeter,
        earlier: EarlierDraws = NOTHING_DRAWN,
        *,
        countable: bool = True,
    ) -> None:
        self.iterator, self.meter = iterator, meter
        anchor = earlier.anchor
        self.orders = earlier.orders
        self._countable = countable and can_count(iterator)
        if isinstance(iterator, tf.distribute.DistributedIterator):
            anchor = None  # of a run on one device
        self._anchor = anchor
        if anchor is not None and self._countable:
            anchor.is_needed = self._is_unseeded
        self._began, self._drawn_then = meter.monotonic(), earlier.drawn
        self.taken = PositionForSave({})

    @property
    def reason_not_saved(self) -> str | None:
        """Why neither a state nor a count is saved of the iterator, or None."""
        if self._countable or not isinstance(self.iterator, tf.distribute.DistributedIterator):
            return None
        return "the batches of data that tf.distribute has split cannot be counted here"

    def begin(self, passes: int | None) -> None:
        """Keep the state before the first batch, if nothing else determines the order.

        A shuffle without a seed takes its order from random numbers of this process. They are in
        the state, which is small as long as nothing is buffered.

        Args:
            passes: the number of passes before this one; None if that is not known.
        """
        if passes is not None and self._countable and isinstance(self.iterator, tf.data.Iterator):
            self.orders = orders_at_start(self.iterator, passes)
        if self._needs_anchor and self._form(0) == "anchor":
            tensors = tf_checkpoint.serialize(self.iterator)
            self._anchor = DataAnchor(0, tensors, is_needed=True, parts=tuple(tensors))

    def take(self, drawn: int, *, ahead: bool = False) -> PositionForSave:
        """Read what a snapshot stores now; training waits meanwhile.

        Args:
            drawn: the number of batches that count as read.
            ahead: whether a further batch was read, whose step does not count yet.

        Raises:
            tf.errors.OpError: If TensorFlow cannot save the iterator.
        """
        if self._anchor is not None and self._anchor.is_lost:
            self._anchor = None
        form = self._form(drawn)
        if ahead or form == "count":
            since = drawn - self._from
            self.taken = PositionForSave({}, self._anchor, since, self.order)
            return self.taken
        began = self.meter.monotonic()
        tensors = tf_checkpoint.serialize(self.iterator)
        self.meter.read(self.meter.monotonic() - began)
        if form == "state":
            self.taken = PositionForSave(tensors)
        else:
            self._anchor = DataAnchor(
                drawn, tensors, is_needed=self._is_unseeded, parts=tuple(tensors)
            )
            self._began, self._drawn_then = self.meter.monotonic(), drawn
            self.taken = PositionForSave({}, self._anchor, order=self.order)
        return self.taken

    def _form(self, drawn: int) -> PositionForm:
        if not self._countable:
            return "state"
        if isinstance(self.iterator, tf.distribute.DistributedIterator):
            return "count"
        form = self.meter.policy.form(self._costs(drawn))
        # Without a seed, only a state has the order from which batches can be counted.
        return "anchor" if form == "count" and self._needs_anchor else form

    @functools.cached_property
    def order(self) -> str:
        """See `order_of`."""
        return order_of(self.iterator)

    @property
    def _needs_anchor(self) -> bool:
        return self._countable and self._anchor is None and self._is_unseeded

    @functools.cached_property
    def _is_unseeded(self) -> bool:
        # Kept, because a save asks while training waits, and a pipeline never changes.
        return shuffle_orders.has_unseeded_orders(tf_iterators.dataset_of(self.iterator))

    @property
    def _from(self) -> int:
        return self._anchor.batches if self._anchor is not None else 0

    def _costs(self, drawn: int) -> PositionCosts:
        secs = self.meter.monotonic() - self._began
        step_secs = secs / max(drawn - self._drawn_then, 1)
        measured = self.meter.draw_secs
        buffered = self.meter.buffered(self.iterator)
        return PositionCosts(
            buffered_rows=buffered.rows,
            buffered_bytes=buffered.size_bytes,
            serialize_secs=self.meter.serialize_secs,
            longest_secs=self.meter.longest_secs,
            readings=self.meter.readings,
            batches=drawn - self._from,
            secs=secs,
            draw_secs=step_secs if measured is None else measured,
        )
