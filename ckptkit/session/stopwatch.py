"""What the training thread spends its time on, for the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

Kind = Literal[
    "preparing",
    "drawing_again",
    "restoring",
    "first_step",
    "training",
    "evaluating",
    "data",
    "saving",
    "exporting",
    "outside",
]
"""`preparing` from opening the run to the first step; `drawing_again`: batches that were done
before; `first_step`: it, with tracing and compiling; `training`: all further steps, and the
callbacks and the program's own work between them; `evaluating`: in `fit`; `data`: waiting for
`manager.data`; `saving`: standing still for saves; `outside` of all loops."""


class _Hands(NamedTuple):
    """Where the hands stand: seconds of each when one began to move, and which that was."""

    stood: dict[str, float]
    moving: Kind
    since: float

    def at(self, now: float) -> dict[str, float]:
        """Where they stand at a moment."""
        return {**self.stood, self.moving: self.stood.get(self.moving, 0.0) + now - self.since}


class Stopwatch:
    """A stopwatch with one hand for each kind of work, of which one moves at a time. Only the
    thread that trains moves them, until it is known the one that made it; any may read.

    Args:
        monotonic: where the time comes from.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._thread = threading.get_ident()
        self._hands = _Hands({}, "preparing", monotonic())

    def trains_here(self) -> None:
        """The calling thread trains: it need not be the one that has opened the run."""
        self._thread = threading.get_ident()

    def switch_to(self, kind: Kind) -> Kind:
        """From now on the time goes there; returns where it went before."""
        hands = self._hands
        if kind != hands.moving and threading.get_ident() == self._thread:
            now = self._monotonic()
            self._hands = _Hands(
                hands.at(now), kind, now
            )  # in one piece, so that whoever reads needs no lock
        return hands.moving

    @contextmanager
    def during(self, kind: Kind) -> Iterator[None]:
        """The time of the block goes there."""
        before = self.switch_to(kind)
        try:
            yield
        finally:
            self.switch_to(before)

    @property
    def secs(self) -> dict[str, float]:
        """Seconds by kind, up to now."""
        return {kind: round(secs, 6) for kind, secs in self._hands.at(self._monotonic()).items()}
