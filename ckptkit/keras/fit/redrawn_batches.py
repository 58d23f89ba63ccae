"""Finds which batches a resume of `fit` draws again, and from which anchor."""

from __future__ import annotations

from typing import Any, NamedTuple

from ckptkit.compat import keras_fit
from ckptkit.data.start_orders import order_of
from ckptkit.keras.fit.fit_position import FitPosition
from ckptkit.run.manifest import Manifest
from ckptkit.tracking.data_anchor import DataAnchor
from ckptkit.writing.data_anchor_files import stored_anchors


class RedrawnBatches(NamedTuple):
    """The batches that a resume of `fit` draws again.

    Args:
        anchor: the anchor that a resume restores first, or None.
        since: the number of batches to draw after it; 0 without an anchor.
        from_start: the number of batches to draw from the start of the iterator; 0 with an anchor.
        order: see `AnchorEntry`; empty if nothing is counted.
    """

    anchor: DataAnchor | None = None
    since: int = 0
    from_start: int = 0
    order: str = ""

    def has_other_order(self, iterator: Any) -> bool:
        """Return whether batches are counted, and other data or seeds would give other ones.

        Args:
            iterator: the iterator from which they are drawn again.
        """
        return bool(self.order) and self.order != order_of(iterator)


def redrawn_batches(manifest: Manifest) -> RedrawnBatches:
    """Return what a resume from a checkpoint of `fit` draws again.

    Args:
        manifest: the manifest of the checkpoint.
    """
    anchors = stored_anchors(manifest)
    for entry in manifest.anchors:
        if entry.name:
            return RedrawnBatches(anchors[entry.key], entry.since, 0, entry.order)
        return RedrawnBatches(None, 0, entry.drawn, entry.order)
    return RedrawnBatches()


def batches_from_start(manifest: Manifest, position: FitPosition, call: keras_fit.FitCall) -> int:
    """Return the number of batches that a resume of `fit` draws again from the iterator's start.

    A strategy cannot restore an iterator's state, or an anchor, that was saved on one device.

    Args:
        manifest: the manifest of the checkpoint.
        position: its position.
        call: what the `fit` was called with.
    """
    if not call.is_split or position.drawn_again is not None:
        return redrawn_batches(manifest).from_start
    calls = position.train_calls if keras_fit.may_keep_iterators(call) else position.now.calls
    return redrawn_batches(manifest).from_start or calls * position.per_call


def reason_not_countable(
    manifest: Manifest, position: FitPosition, call: keras_fit.FitCall
) -> str | None:
    """Return why the batches of the current iterator cannot be counted from its start, or None.

    Args:
        manifest: the manifest of the checkpoint.
        position: the position of the checkpoint.
        call: what the `fit` was called with, under a strategy.
    """
    ended = any(each.ended for each in position.epochs)
    if keras_fit.may_keep_iterators(call) and ended and not redrawn_batches(manifest).from_start:
        return "Keras has made new iterators when the data had ended"
    return None
