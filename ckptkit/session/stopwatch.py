"""A stopwatch that measures how the training thread spends its time, for the journal."""

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
"""What time is spent on.

`preparing`: from opening the run to the first step. `drawing_again`: batches that were done before.
`first_step`: it, with tracing and compiling. `training`: all further steps, the callbacks, and the
program's own work between them. `evaluating`: in `fit`. `data`: waiting for `manager.data`.
`saving`: standing still for saves. `outside`: outside of all loops."""


class _Reading(NamedTuple):
    """A reading: the seconds of each kind so far, the present kind, and when it began."""

    secs: dict[str, float]
    kind: Kind
    since: float

    def at(self, now: float) -> dict[str, float]:
        """Return the seconds of each kind at a moment."""
        return {**self.secs, self.kind: self.secs.get(self.kind, 0.0) + now - self.since}


class Stopwatch:
    """Measures seconds by kind of work; one kind runs at a time.

    Only the training thread switches it: until `trains_here` is called, that is the thread that
    created it. Any thread may read it.

    Args:
        monotonic: the clock, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._thread = threading.get_ident()
        self._reading = _Reading({}, "preparing", monotonic())

    @property
    def kind(self) -> Kind:
        """The kind of work that is being measured."""
        return self._reading.kind

    def trains_here(self) -> None:
        """Make the calling thread the one that trains; it need not have opened the run."""
        self._thread = threading.get_ident()

    def switch_to(self, kind: Kind) -> Kind:
        """Count the time from now on as another kind.

        Returns:
            The kind before it.
        """
        reading = self._reading
        # Another thread may save or restore as well, but training does not stand still for that.
        if kind != reading.kind and threading.get_ident() == self._thread:
            now = self._monotonic()
            # In one assignment, so that a thread that reads needs no lock.
            self._reading = _Reading(reading.at(now), kind, now)
        return reading.kind

    @contextmanager
    def during(self, kind: Kind) -> Iterator[None]:
        """Count the time of the block as a kind."""
        before = self.switch_to(kind)
        try:
            yield
        finally:
            self.switch_to(before)

    @property
    def secs(self) -> dict[str, float]:
        """Seconds by kind, up to now."""
        return {kind: round(secs, 6) for kind, secs in self._reading.at(self._monotonic()).items()}
