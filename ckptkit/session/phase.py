"""The phases of a session, the legal moves between them, and the time that each takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Literal, NamedTuple

from ckptkit.run.audit_instructions import HELD

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


class SessionPhase(StrEnum):
    """The phase of a session: what it is doing now.

    The values are used in the journal, in log lines and on the launcher's channel.
    """

    STARTING = "starting"
    """From opening the run to the first step."""
    TRACING = "tracing"
    """`fit` is replaying batches up to the checkpoint, or compiling its step."""
    TRAINING = "training"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    BETWEEN_LOOPS = "between loops"
    SAVING = "saving"
    """A request to stop is being served."""
    HELD = HELD
    """Training waits at a step, because an audit has asked for it."""
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
"""The phases that `PhaseMachine.enter` allows after each phase.

The same phase and `CLOSED` are always allowed too."""

INTERLUDES = frozenset({SessionPhase.SAVING, SessionPhase.HELD})
"""The phases that `PhaseMachine.during` enters for a block and then leaves again."""

_TIME: dict[SessionPhase, Kind] = {
    SessionPhase.STARTING: "preparing",
    SessionPhase.TRAINING: "training",
    SessionPhase.EVALUATING: "evaluating",
    SessionPhase.EXPORTING: "exporting",
    SessionPhase.BETWEEN_LOOPS: "outside",
    SessionPhase.SAVING: "saving",
}
"""The kind of time that each phase counts as.

A phase without an entry keeps the previous kind. For example, `fit` may trace while it replays
batches, or in its first step."""


class IllegalMove(RuntimeError):
    """A move between two phases that `MOVES` does not allow: a bug in ckptkit."""


class PhaseMachine:
    """Keeps the phase of a session, and switches its stopwatch with each move.

    Args:
        monotonic: the clock, in seconds.

    Attributes:
        stopwatch: measures how the time of this session is spent.
        has_trained: whether this session has finished a step.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.stopwatch = Stopwatch(monotonic)
        self.has_trained = False
        self._phase = SessionPhase.STARTING

    @property
    def phase(self) -> SessionPhase:
        """The current phase."""
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
        """Enter the training phase; the calling thread is the training thread from now on."""
        # A run may be opened on one thread and trained on another. Only the training thread's time
        # is measured.
        self.stopwatch.trains_here()
        self.enter(SessionPhase.TRAINING)

    def first_step_done(self) -> None:
        """Note that this session has finished its first step, on the calling thread."""
        self.has_trained = True
        self.stopwatch.trains_here()
        # A program that passes its own step numbers to `maybe_save` trains without entering the
        # training phase.
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
            # A generator may continue after its session was closed. Its saves then raise an error
            # that says so.
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
        """Enter the last phase, which is allowed from any phase."""
        self._phase = SessionPhase.CLOSED

    def _set_stopwatch(self, phase: SessionPhase) -> None:
        if phase is SessionPhase.TRAINING and not self.has_trained:
            self.stopwatch.switch_to("first_step")
        elif (kind := _TIME.get(phase)) is not None:
            self.stopwatch.switch_to(kind)
