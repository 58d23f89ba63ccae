"""Stops training on request of a signal, a notice, another process, or the program itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Protocol

from ckptkit.errors import CheckpointError, Preempted, ThreadRefusedError
from ckptkit.log import logger
from ckptkit.position import RunPosition
from ckptkit.preemption.emergency import decide
from ckptkit.preemption.request import StopBox, StopRequest
from ckptkit.preemption.signals import SignalGuard
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.journal import Journal
from ckptkit.session.options import RunOptions
from ckptkit.session.orphaned_output import TerminalOutput
from ckptkit.session.phase import PhaseMachine, SessionPhase
from ckptkit.session.position_and_metrics import RunProgress
from ckptkit.session.saver import Saver
from ckptkit.threads import start_timer

if TYPE_CHECKING:
    from ckptkit.session.reserve_snapshot import PartialTurn
    from ckptkit.session.snapshot_writer import Taken

_PATIENCE_SECS = 1.0
"""Seconds that `close` waits for the emergency timer."""


class Stoppable(Protocol):
    """What `Stopping` needs from a session."""

    @property
    def phases(self) -> PhaseMachine:
        """The phases of the session."""
        ...

    @property
    def progress(self) -> RunProgress:
        """The position and the metrics of the run."""
        ...

    @property
    def saved_at(self) -> RunPosition:
        """The position of the last save, or of the checkpoint from which the session continued."""
        ...

    def is_saved(self, at: RunPosition) -> bool:
        """Return whether a position is already saved."""
        ...

    def take(self) -> Taken:
        """Take a snapshot of the current state."""
        ...

    def save(self, trigger: str, taken: Taken | None = None) -> None:
        """Pass a snapshot to the writer; by default one of the current state."""
        ...

    def upload_in_time(self, left_secs: float | None) -> None:
        """Wait until the mirror of the run has the last save, if there is time for that."""
        ...

    def partial_turn(self) -> PartialTurn | None:
        """Return what can be saved if a turn is left in its middle; None if nothing was left."""
        ...


class Stopping:
    """Receives requests to stop, and serves them at safe points.

    Signals are handled between `start` and `close`. Other requests may come at any time.

    Args:
        session: the session to stop.
        options: the options of the run.
        journal: the journal of the attempt.
        saver: the saver of the session.

    Attributes:
        before_signal: called when a signal has arrived, to read the launcher's notice about the
            time that is left.
        stops_for_good: tells the launcher that no restart may follow.
        reserve: a snapshot that is written if the training thread reaches no safe point before
            the machine goes away.
        preempted: whether a request stopped the session, with its state saved.
        served: the reason of that request.
    """

    def __init__(
        self, session: Stoppable, options: RunOptions, journal: Journal, saver: Saver
    ) -> None:
        self._session, self._options = session, options
        self._journal, self._saver = journal, saver
        self.reserve: Taken | None = None
        self.preempted, self.served = False, ""
        self._box = StopBox()
        self._deadline: float | None = None
        self._timer: threading.Timer | None = None
        self._grace_secs = options.preemption.grace_secs
        self.before_signal: Callable[[], None] = lambda: None
        self.stops_for_good: Callable[[], None] = lambda: None
        self._pass_on: Callable[[str, bool], None] | None = None
        """Tells the workers of a job that this one is asked to stop, until all agree on when."""
        self._guard = threading.Lock()
        """Held while the last save is made, so that the emergency timer and the training thread do
        not both make it."""
        self._terminal = TerminalOutput(options.layout.log)
        self._signals = SignalGuard(
            options.preemption, self._box, self._signal_arrived, self._signal_noted
        )

    def start(self) -> None:
        """Install the signal handlers.

        Raises:
            ThreadRefusedError: If the system allows no thread for them; no handler is installed
                then.
        """
        self._signals.install()

    def close(self) -> None:
        """Restore the previous signal handlers, and cancel the emergency timer."""
        with self._guard:  # wait for an emergency save in progress
            self.reserve = None
        # Before the timer is cancelled: a signal that has already arrived may still start it.
        self._signals.restore()
        self._cancel_last_resort()
        # A closed run must leave no thread behind. This one ends as soon as it is cancelled.
        if self._timer is not None and self._timer is not threading.current_thread():
            self._timer.join(_PATIENCE_SECS)

    # -- requests

    def request(self, reason: str, *, for_good: bool = False) -> None:
        """Ask the run to save and stop at its next safe point; call it on any thread.

        Args:
            reason: who asked, and why.
            for_good: whether no restart may follow.
        """
        if for_good:
            self.stops_for_good()
        self._box.put(StopRequest(reason, self._options.preemption.exit_code))
        if self._pass_on is not None:
            self._pass_on(reason, for_good)

    def hold(self, pass_on: Callable[[str, bool], None]) -> None:
        """Serve no request before `release`, because all workers of a job stop together.

        Args:
            pass_on: tells the others a reason to stop, and whether no restart may follow; called
                on any thread.
        """
        self._pass_on = pass_on

    def release(self, reason: str, *, for_good: bool = False) -> None:
        """Serve requests from now on, because all workers have agreed to stop here.

        Args:
            reason: who asked, if this worker was not asked itself.
            for_good: whether no restart may follow.
        """
        self._pass_on = None
        self.request(reason, for_good=for_good)

    def goes_away(self, source: str, left_secs: float) -> None:
        """Handle a notice that the machine goes away: save and stop. Call it on any thread.

        Args:
            source: the source of the notice.
            left_secs: the seconds until the machine goes away. A later notice replaces an earlier
                one.
        """
        self._set_deadline(left_secs)
        self.request(source)
        # Last, because storage may be slow.
        self._journal.record(events.NoticeReceived(source=source, grace_secs=left_secs))

    def stays(self) -> None:
        """Cancel the notice, so that the current save has no deadline any more."""
        self._deadline = None
        self._cancel_last_resort()

    def _set_deadline(self, left_secs: float) -> None:
        self._grace_secs, self._deadline = left_secs, time.monotonic() + left_secs
        self._schedule_last_resort()

    def _left_secs(self) -> float:
        assert self._deadline is not None
        return self._deadline - time.monotonic()

    @property
    def requested(self) -> bool:
        """Whether the run has to stop at its next safe point."""
        return self._pass_on is None and self._box.get() is not None

    @property
    def answered_elsewhere(self) -> bool:
        """Whether another run of this process has served the request, so the program is ending."""
        return self._box.answered_elsewhere

    # -- serving them

    def serve(self, taken: Taken | None = None, leave: Callable[[], None] | None = None) -> None:
        """If a stop was requested, save and leave the program.

        Args:
            taken: the snapshot to save; by default one of the current state.
            leave: called after the state was saved, before the program is left.

        Raises:
            BackgroundSaveError: If this save or an earlier one failed.
            Preempted: After the state was saved. After Ctrl-C it is `KeyboardInterrupt` instead. If
                the program had its own signal handler, it is what that handler raises.
        """
        request = self._box.get()
        if request is None or not self.requested:
            return
        with self._session.phases.during(SessionPhase.SAVING):
            at = self._save_and_record(request, taken)
        if leave is not None:
            leave()
        _answer(request, at)

    def _save_and_record(self, request: StopRequest, taken: Taken | None) -> RunPosition:
        session, clock = self._session, self._options.clock
        began = clock.monotonic()
        at = taken.position if taken is not None else session.progress.position
        with self._guard:
            if not session.progress.done and not session.is_saved(at):
                partial = session.partial_turn() if taken is None else None
                if partial is not None:
                    taken, at = partial.taken, partial.position
                if partial is None or taken is not None:
                    at = self._save_before_the_end(request, taken, at)
        # Raises what failed, in this save or an earlier one: then nobody is told that all is safe.
        self._saver.wait()
        session.upload_in_time(None if self._deadline is None else self._left_secs())
        self._journal.record(
            events.RunPreempted(
                step=at.step,
                reason=request.reason,
                exit_code=request.exit_code,
                secs=clock.monotonic() - began,
            )
        )
        logger.info("stopped by %s at %s; the next start resumes from there", request.reason, at)
        self.preempted, self.served = True, request.reason
        # The request is served: a program that catches `Preempted` and trains on is not stopped
        # again.
        self._box.clear()
        self._deadline = None
        return at

    def answer_late(self) -> None:
        """Leave the program if a stop was requested after everything was saved.

        Raises:
            Preempted: As `serve` does.
        """
        if (request := self._box.get()) is not None:
            _answer(request, self._session.progress.position)

    # -- before the machine goes away

    def _signal_noted(self, name: str) -> None:
        # Redirected here too: the main thread might print before the helper thread runs.
        if name == "SIGHUP":
            self._terminal.move()

    def _signal_arrived(self, name: str) -> None:
        self._signal_noted(name)  # first, so that the lines below are logged there too
        session = self._session
        if name == "SIGINT":
            step = session.progress.position.step
            logger.warning("saving step %d; Ctrl-C again to stop now", step)
        else:
            self.before_signal()
            if self._deadline is None:
                self._set_deadline(self._options.preemption.grace_secs)
            logger.warning(
                "received %s while %s: saving at the next safe point, then stopping",
                name,
                session.phases.phase,
            )
        if self._pass_on is not None:
            self._pass_on(name, False)
        self._journal.record(events.SignalReceived(signal=name, phase=session.phases.phase.value))

    def _schedule_last_resort(self) -> None:
        self._cancel_last_resort()
        # Late enough that training may reach a safe point by itself, and early enough to write: 1.5
        # times the duration of a save of the reserve, plus one second.
        reserve = self.reserve
        write_secs = (
            self._saver.write_secs if reserve is None else self._saver.write_secs_for(reserve)
        )
        after_secs = max(self._grace_secs - 1.5 * (write_secs or 0.0) - 1.0, 0.0)
        try:
            self._timer = start_timer(after_secs, self._last_resort, "ckptkit-last-resort")
        except ThreadRefusedError as error:
            logger.warning(
                "no emergency save is possible before training reaches a safe point: %s", error
            )

    def _cancel_last_resort(self) -> None:
        if (timer := self._timer) is not None:
            timer.cancel()

    def _last_resort(self) -> None:
        """Save the reserve snapshot, because the training thread has reached no safe point."""
        session = self._session
        with self._guard:
            reserve = self.reserve
            # Not `requested`: Python's handler may also be waiting for the training thread.
            if (
                self._deadline is None
                or reserve is None
                or (reserve.position == session.saved_at != self._saver.unsaved)
                or (reserve.position.step < session.saved_at.step and not self._saver.unsaved)
            ):
                return
            reason = (
                f"no safe point within {self._grace_secs:.3g} s of grace, "
                f"while {session.phases.phase}"
            )
            logger.warning("%s: saving the earlier snapshot of %s", reason, reserve.position)
            self._journal.record(events.EmergencyDecided(action="reserve", reason=reason))
            try:
                session.save(f"the machine goes away; {reason}", reserve)
            # An error on this thread would have no reader. The training thread also saves if it
            # reaches a safe point.
            except CheckpointError as error:
                logger.warning(
                    "the earlier snapshot of %s was not saved: %s", reserve.position, error
                )

    def _save_before_the_end(
        self, request: StopRequest, taken: Taken | None, at: RunPosition
    ) -> RunPosition:
        """Save as much as the remaining time allows.

        Returns:
            The position from which the next start resumes.
        """
        write_secs = None
        if self._deadline is not None and self._saver.write_secs is not None:
            # Taken once: the estimate needs the values, and the save writes the same ones.
            taken = taken or self._session.take()
            write_secs = self._saver.write_secs_for(taken)
        decision = decide(
            left_secs=None if self._deadline is None else self._left_secs(),
            write_secs=write_secs,
            writing_for_secs=self._saver.writing_for_secs,
        )
        if self._deadline is not None:
            self._journal.record(
                events.EmergencyDecided(action=decision.action, reason=decision.reason)
            )
        if decision.action == "save":
            self._session.save(request.reason, taken)
            return at
        logger.warning("not saved at %s: %s", at, decision.reason)
        self._saver.wait()
        newest = list_checkpoints(self._options.layout)
        return newest[-1].manifest.position if newest else RunPosition()


def _answer(request: StopRequest, at: RunPosition) -> NoReturn:
    """Leave the program as the request demands, after the state was saved."""
    if request.before is not None:
        request.before()
    if request.interrupt:
        raise KeyboardInterrupt
    raise Preempted(request.exit_code, at.step)
