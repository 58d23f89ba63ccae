"""Keeps the position in one pass over the data of a custom loop, as a checkpoint stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptkit.data.drawing_state import DrawingState
from ckptkit.data.iterator_position import IteratorPosition
from ckptkit.tracking.data_anchor import AnchorUse, DataAnchor
from ckptkit.tracking.leaves import Tensors


@dataclass
class DataPass:
    """The position in one pass over data, which is one call of `manager.data`.

    Args:
        done: the number of batches whose step is complete.
        drawn: the number of batches that were read; one more than `done` during a step and after a
            `break`.
        over: whether the data has ended, or the program has left the pass early and continued.
        broken_off: whether the program has left the pass early; it is over when the program reads
            other data.
        caches: whether the pass fills a cache that later passes read.
        random: random states and variables of the data at its beginning.
        drawing: the state on which its batches depend, in this process.
        values: these variables at the checkpoint, until the loop makes the iterator.
        position: the position of the iterator of the pass, in this process.
        saved: the saved state of the iterator, until the loop makes that iterator.
        since: the number of batches from the saved state to the checkpoint's position.
        anchor: the anchor that contains the saved state, or None.
        order: the digest of the pipeline from which batches are counted; see `AnchorEntry`.
    """

    done: int = 0
    drawn: int = 0
    over: bool = False
    broken_off: bool = False
    caches: bool = False
    random: dict[str, Any] | None = None
    drawing: DrawingState | None = None
    values: dict[str, Any] = field(default_factory=dict)
    position: IteratorPosition | None = None
    saved: Tensors = field(default_factory=dict)
    since: int = 0
    anchor: DataAnchor | None = None
    order: str = ""

    @property
    def earlier(self) -> int:
        """Return the number to remember for a finished pass: its reads to repeat, minus one.

        A pass that reached the end of its data has made one more read than it has batches.
        """
        return self.drawn - 1 if self.broken_off else self.done

    def end(self) -> None:
        """End the pass: nothing more is read from it."""
        self.over, self.position, self.saved = True, None, {}
        self.since, self.anchor, self.order = 0, None, ""
        self.drawing, self.values = None, {}

    def to_state(self) -> dict[str, Any]:
        """Return plain values for the checkpoint."""
        return {
            "done": self.earlier if self.over else self.done,
            "over": self.over,
            "random": None if self.over else self.random,
            "drawing": self.values if self.drawing is None else self.drawing.now(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DataPass:
        """Return the pass from the result of `to_state`; the loop makes its iterator later."""
        return cls(
            done=state["done"],
            drawn=state["done"],
            over=state["over"],
            random=state["random"],
            values=state.get("drawing", {}),
        )

    def uses(self, key: str) -> tuple[AnchorUse, ...]:
        """Return from where a snapshot counts batches, if it does; see `AnchorUse`."""
        if self.position is not None:
            return self.position.taken.uses(key)
        if not self.since and self.anchor is None:
            return ()
        return (AnchorUse(self.anchor, key, self.since, self.order),)
