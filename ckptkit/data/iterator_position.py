"""The position of one iterator: what each save stores of it, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ckptkit.compat import tf_checkpoint, tf_data
from ckptkit.policies.anchor_policies import AnchorPolicy, PositionCosts, PositionForm
from ckptkit.tracking.data_anchor import AnchorUse, DataAnchor
from ckptkit.tracking.leaves import Tensors


@dataclass
class DrawMeter:
    """What reading a pipeline's state and its batches takes, for all iterators over it.

    Args:
        policy: decides what a save stores.
        monotonic: returns the seconds of the monotonic clock.
        serialize_secs: how long it last took to read an iterator's state; None before that.
        draw_secs: how long it took to draw one batch again; None before that.
    """

    policy: AnchorPolicy
    monotonic: Callable[[], float]
    serialize_secs: float | None = None
    draw_secs: float | None = None
    _buffered: dict[int, int | None] = field(default_factory=dict)

    def buffered_bytes(self, iterator: Any) -> int | None:
        """Return how many bytes an iterator buffers by its description, or None if unknown."""
        dataset = tf_data.dataset_of(iterator)
        if id(dataset) not in self._buffered:
            self._buffered = {id(dataset): tf_data.buffered_bytes(dataset)}
        return self._buffered[id(dataset)]

    def drew(self, batches: int, secs: float) -> None:
        """Note how long it took to draw batches again."""
        if batches:
            self.draw_secs = secs / batches


@dataclass(frozen=True)
class PositionForSave:
    """What one snapshot stores of the position of an iterator.

    Args:
        tensors: the iterator's state; empty if batches are counted.
        anchor: the anchor from which they are counted; None for the start of the iterator.
        since: the number of batches from there.
    """

    tensors: Tensors
    anchor: DataAnchor | None = None
    since: int = 0

    @property
    def is_counted(self) -> bool:
        """Whether a resume draws batches again."""
        return not self.tensors

    def uses(self, key: str) -> tuple[AnchorUse, ...]:
        """Return the use of the anchor by a snapshot.

        Args:
            key: see `AnchorUse`.
        """
        return () if self.anchor is None else (AnchorUse(self.anchor, key, self.since),)


class IteratorPosition:
    """The position of one tf.data iterator.

    Args:
        iterator: the iterator.
        meter: what the pipeline costs.
        drawn: the number of batches that the run has read from it.
        anchor: the newest anchor, if the run was resumed from one.
        countable: whether drawing the same number of batches again gives the same batches.

    Attributes:
        taken: what the newest snapshot stores.
    """

    def __init__(
        self,
        iterator: Any,
        meter: DrawMeter,
        drawn: int = 0,
        anchor: DataAnchor | None = None,
        *,
        countable: bool = True,
    ) -> None:
        self.iterator, self._meter = iterator, meter
        self._anchor, self._countable = anchor, countable
        self._began, self._drawn_then = meter.monotonic(), drawn
        self.taken = PositionForSave({})

    def take(self, drawn: int, *, ahead: bool = False) -> PositionForSave:
        """Read what a snapshot stores now; training waits meanwhile.

        Args:
            drawn: the number of batches that count as read.
            ahead: whether a further batch was read, whose step does not count yet.

        Raises:
            tf.errors.OpError: If TensorFlow cannot save the iterator.
        """
        form = self._form(drawn)
        if ahead or form == "count":
            self.taken = PositionForSave({}, self._anchor, drawn - self._from)
            return self.taken
        began = self._meter.monotonic()
        tensors = tf_checkpoint.serialize(self.iterator)
        self._meter.serialize_secs = self._meter.monotonic() - began
        if form == "state":
            self.taken = PositionForSave(tensors)
        else:
            self._anchor = DataAnchor(drawn, tensors, parts=tuple(tensors))
            self._began, self._drawn_then = self._meter.monotonic(), drawn
            self.taken = PositionForSave({}, self._anchor)
        return self.taken

    def _form(self, drawn: int) -> PositionForm:
        return self._meter.policy.form(self._costs(drawn)) if self._countable else "state"

    @property
    def _from(self) -> int:
        return self._anchor.batches if self._anchor is not None else 0

    def _costs(self, drawn: int) -> PositionCosts:
        secs = self._meter.monotonic() - self._began
        step_secs = secs / max(drawn - self._drawn_then, 1)
        measured = self._meter.draw_secs
        return PositionCosts(
            buffered_bytes=self._meter.buffered_bytes(self.iterator),
            serialize_secs=self._meter.serialize_secs,
            batches=drawn - self._from,
            secs=secs,
            draw_secs=step_secs if measured is None else measured,
        )
