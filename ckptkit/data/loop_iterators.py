"""The iterators of a custom loop, as a leaf of the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import tensorflow as tf

from ckptkit.tracking.data_anchor import AnchorUse
from ckptkit.tracking.leaves import Tensors

if TYPE_CHECKING:
    from ckptkit.data.loop_data import LoopData


class LoopIterators:
    """A leaf with the states of all iterators in use; restored states wait for the loop."""

    kind = "trackable"
    trainable = None
    path = "the data of the loop"

    def __init__(self, key: str, data: LoopData) -> None:
        self.key = key
        self._data = data

    def capture(self) -> Tensors:
        return self._data.iterator_states()

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        self._data.keep_iterator_states(tensors)

    @property
    def anchors(self) -> tuple[AnchorUse, ...]:
        """The anchors that the values of `capture` count from."""
        return self._data.anchors(self.key)
