"""Measures how the time of a session is spent, by kind of work."""

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
"""The kinds of work that the stopwatch tells apart.

`preparing`: from opening the run to the first step. `drawing_again`: reading batches again that an
earlier attempt trained on. `first_step`: the first step, with tracing and compiling. `training`:
all further steps, callbacks, and the program's own code between steps. `evaluating`: evaluation in
`fit`. `data`: waiting for the next batch of `manager.data`. `saving`: training stops for a save.
`outside`: outside of all loops."""


class _Reading(NamedTuple):
    """A reading of the stopwatch: the seconds of each kind, the current kind and its start."""

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
        """Make the calling thread the training thread."""
        self._thread = threading.get_ident()

    def switch_to(self, kind: Kind) -> Kind:
        """Count the time from now on as another kind.

        Returns:
            The kind before it.
        """
        reading = self._reading
        # Another thread may also save or restore, but training does not stop for that.
        if kind != reading.kind and threading.get_ident() == self._thread:
            now = self._monotonic()
            # One assignment, so that reading threads need no lock.
            self._reading = _Reading(reading.at(now), kind, now)
        return reading.kind

    @contextmanager
    def during(self, kind: Kind) -> Iterator[None]:
        """Count the time of the block as a kind, and then return to the previous kind."""
        before = self.switch_to(kind)
        try:
            yield
        finally:
            self.switch_to(before)

    @property
    def secs(self) -> dict[str, float]:
        """The seconds of each kind up to now."""
        return {kind: round(secs, 6) for kind, secs in self._reading.at(self._monotonic()).items()}
