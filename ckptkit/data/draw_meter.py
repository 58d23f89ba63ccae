"""Measures what it costs to save the position in a pipeline, and logs once if it costs much."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ckptkit.compat import tf_data, tf_iterators
from ckptkit.log import logger
from ckptkit.policies.anchor_policies import AnchorPolicy

DEAR_DRAW_SECS = 5.0
"""A resume that reads data again for longer than this is dear."""

DEAR_READ_SECS = 1.0
"""A save that stops training for longer than this to read an iterator's state is dear."""


class DrawMeter:
    """Measures how long it takes to read a pipeline's state and batches, for all its iterators.

    Args:
        policy: decides what a save stores.
        monotonic: returns the seconds of the monotonic clock.
    """

    def __init__(self, policy: AnchorPolicy, monotonic: Callable[[], float]) -> None:
        self.policy, self.monotonic = policy, monotonic
        self._read_secs: deque[float] = deque(maxlen=3)
        self._longest_secs: deque[float] = deque(maxlen=10)
        self._batches, self._secs = 0, 0.0
        self._buffered: dict[int, tf_data.Buffered] = {}
        self._has_advised = False

    @property
    def serialize_secs(self) -> float | None:
        """How long it takes to read an iterator's state; None before the first time.

        The shortest of the last three counts: on a busy machine, a small state takes long too.
        """
        return min(self._read_secs, default=None)

    @property
    def longest_secs(self) -> float | None:
        """The longest of the last ten times; None before the first one."""
        return max(self._longest_secs, default=None)

    @property
    def readings(self) -> int:
        """How many times count in `serialize_secs`."""
        return len(self._read_secs)

    @property
    def draw_secs(self) -> float | None:
        """How long it takes to draw one batch again; None before the first time."""
        return self._secs / self._batches if self._batches else None

    def buffered(self, iterator: Any) -> tf_data.Buffered:
        """Return what an iterator buffers, according to the description of its pipeline."""
        dataset = tf_iterators.dataset_of(iterator)
        if id(dataset) not in self._buffered:
            self._buffered = {id(dataset): tf_data.buffered(dataset)}
        return self._buffered[id(dataset)]

    def draw(self, draw: Callable[[], int]) -> int:
        """Draw batches again, and note how long that takes.

        Args:
            draw: draws them, and returns their number.

        Returns:
            The number of batches.
        """
        began = self.monotonic()
        batches = draw()
        self._secs += self.monotonic() - began
        self._batches += batches
        return batches

    def drawn(self) -> None:
        """Note that this resume has drawn all batches that it needs."""
        if self._secs > DEAR_DRAW_SECS and self._batches:
            self._advise(
                "the resume has read %d batches again in %.1f s (%.1f ms each), without training",
                self._batches,
                self._secs,
                1e3 * self._secs / self._batches,
            )

    def read(self, secs: float) -> None:
        """Note how long training stopped to read the state of an iterator.

        Args:
            secs: the duration of the stop, in seconds.
        """
        self._read_secs.append(secs)
        self._longest_secs.append(secs)
        if secs > DEAR_READ_SECS:
            self._advise(
                "the save has stopped training for %.1f s to read the state of the data, with its "
                "shuffle buffer",
                secs,
            )

    def _advise(self, what: str, *figures: float) -> None:
        if not self._has_advised:
            self._has_advised = True
            logger.info(
                f"{what}. ckptkit.data.shuffled has no buffer, so it takes no time at a save or a "
                "resume. It needs rows that can be read by number, such as arrays",
                *figures,
            )
