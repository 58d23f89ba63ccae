"""The phases of a session, and the legal moves between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from ckptkit.run.audit_settings import HELD
from ckptkit.session.stopwatch import Kind, Stopwatch


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
