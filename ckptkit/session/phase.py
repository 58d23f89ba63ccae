"""The phases of a session, the legal moves between them, and the time that each takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Literal, NamedTuple

from ckptkit.run.audit_orders import HELD

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


class SessionPhase(StrEnum):
    """What a session is doing.

    The values are words of the journal, of log lines and of the launcher's channel.
    """

    STARTING = "starting"
    """From opening the run to the first step."""
    TRACING = "tracing"
    """`fit` goes to the position of the checkpoint, or compiles its step."""
    TRAINING = "training"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    BETWEEN_LOOPS = "between loops"
    SAVING = "saving"
    """A request to stop is being served."""
    HELD = HELD
    """An audit has asked training to wait at a step."""
    CLOSED = "closed"


MOVES: dict[SessionPhase, frozenset[SessionPhase]] = {
    SessionPhase.STARTING: frozenset(
        {SessionPhase.TRACING, SessionPhase.TRAINING, SessionPhase.EXPORTING}
    ),
    SessionPhase.TRACING: frozenset(
        {SessionPhase.TRAINING, SessionPhase.EVALUATING, SessionPhase.EXPORTING}
    ),
    SessionPhase.TRAINING: frozenset(
        {
            SessionPhase.TRACING,
            SessionPhase.EVALUATING,
            SessionPhase.EXPORTING,
            SessionPhase.BETWEEN_LOOPS,
        }
    ),
    SessionPhase.EVALUATING: frozenset({SessionPhase.TRAINING, SessionPhase.EXPORTING}),
    SessionPhase.EXPORTING: frozenset(),
    SessionPhase.BETWEEN_LOOPS: frozenset({SessionPhase.TRAINING}),
    SessionPhase.CLOSED: frozenset(),
}
"""Where `PhaseMachine.enter` may lead from each phase, beside that phase itself and `CLOSED`."""

INTERLUDES = frozenset({SessionPhase.SAVING, SessionPhase.HELD})
"""Phases that `PhaseMachine.during` enters from any open phase, and that lead back to it."""

_TIME: dict[SessionPhase, Kind] = {
    SessionPhase.STARTING: "preparing",
    SessionPhase.TRAINING: "training",
    SessionPhase.EVALUATING: "evaluating",
    SessionPhase.EXPORTING: "exporting",
    SessionPhase.BETWEEN_LOOPS: "outside",
    SessionPhase.SAVING: "saving",
}
"""What the time of a phase counts as. In the other phases it counts as it did before them: `fit`
may trace while it draws batches again, or in its first step."""


class IllegalMove(RuntimeError):
    """A move between two phases that is not in `MOVES`: a mistake in this package."""


class PhaseMachine:
    """The phase of a session, and the stopwatch that each move switches.

    Args:
        monotonic: the clock, in seconds.

    Attributes:
        stopwatch: how the time of this session was spent.
        has_trained: whether this session has made a step.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.stopwatch = Stopwatch(monotonic)
        self.has_trained = False
        self._phase = SessionPhase.STARTING

    @property
    def phase(self) -> SessionPhase:
        """The present phase."""
        return self._phase

    @property
    def is_closed(self) -> bool:
        """Whether the session is over."""
        return self._phase is SessionPhase.CLOSED

    @property
    def is_between_loops(self) -> bool:
        """Whether no loop and no `fit` is running."""
        return self._phase in (SessionPhase.STARTING, SessionPhase.BETWEEN_LOOPS)

    def enter(self, phase: SessionPhase) -> None:
        """Move to another phase.

        Raises:
            IllegalMove: If no such move exists.
        """
        if phase is not self._phase and phase not in MOVES.get(self._phase, ()):
            raise IllegalMove(f"No move leads from {self._phase!r} to {phase!r}; see MOVES.")
        self._phase = phase
        self._set_stopwatch(phase)

    def begin_training(self) -> None:
        """Move to training, which happens on the calling thread from now on."""
        # A run may be opened on one thread and trained on another, and only the latter's time is
        # measured.
        self.stopwatch.trains_here()
        self.enter(SessionPhase.TRAINING)

    def first_step_done(self) -> None:
        """Note that this session has made its first step, on the calling thread."""
        self.has_trained = True
        self.stopwatch.trains_here()
        # A program that names its steps itself (`maybe_save`) enters no phase of training, and
        # trains all the same.
        self.stopwatch.switch_to("training")

    @contextmanager
    def during(self, phase: SessionPhase) -> Iterator[None]:
        """Enter an interlude for the block, and return to the previous phase.

        Raises:
            IllegalMove: If the phase is not an interlude.
        """
        if phase not in INTERLUDES:
            raise IllegalMove(f"Expected one of {sorted(INTERLUDES)}. Received: {phase!r}.")
        if self.is_closed:
            # A generator may outlive its session. Its saves fail with an error that says so.
            yield
            return
        before, kind = self._phase, self.stopwatch.kind
        self._phase = phase
        self._set_stopwatch(phase)
        try:
            yield
        finally:
            if not self.is_closed:
                self._phase = before
                self.stopwatch.switch_to(kind)

    def close(self) -> None:
        """Enter the last phase, from any other."""
        self._phase = SessionPhase.CLOSED

    def _set_stopwatch(self, phase: SessionPhase) -> None:
        if phase is SessionPhase.TRAINING and not self.has_trained:
            self.stopwatch.switch_to("first_step")
        elif (kind := _TIME.get(phase)) is not None:
            self.stopwatch.switch_to(kind)
