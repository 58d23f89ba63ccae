"""Stops training on request: by a signal, a notice, another process, or the program itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

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
from ckptkit.session.output_log import TerminalOutput
from ckptkit.session.phase import PhaseMachine, SessionPhase
from ckptkit.session.progress import RunProgress
from ckptkit.session.saver import Saver, Taken
from ckptkit.threads import start_timer

_PATIENCE_SECS = 1.0
"""How long `close` waits for the timer of the last resort."""


class Stoppable(Protocol):
    """The part of a session that stopping needs."""

    @property
    def phases(self) -> PhaseMachine:
        """What the session is doing."""
        ...

    @property
    def progress(self) -> RunProgress:
        """The position and the metrics of the run."""
        ...

    @property
    def saved_at(self) -> RunPosition:
        """The position of the last save, or the one from which the session continued."""
        ...

    def is_saved(self, at: RunPosition) -> bool:
        """Return whether nothing is left to save at a position."""
        ...

    def save(self, trigger: str, taken: Taken | None = None) -> None:
        """Pass a snapshot to the writer; by default one of the present state."""
        ...

    def warn_partial_step(self) -> None:
        """Warn if a turn is left after it has trained."""
        ...


class Stopping:
    """Takes requests to stop, and serves them at safe points.

    Signals are handled between `start` and `close`. Other requests may come at any time.

    Args:
        session: the session to stop.
        options: the options of the run.
        journal: the journal of the attempt.
        saver: the saver of the session.

    Attributes:
        before_signal: called when a signal has arrived, before the time that is left is known: a
            launcher may have sent it.
        reserve: a snapshot that is written if the training thread reaches no safe point before
            the machine goes away.
        preempted: whether the session was stopped, with its state saved.
        served: the reason of the request that stopped it.
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
        self._guard = threading.Lock()
        """Held while something is saved before the end, so that the timer of the last resort and
        the training thread do not both do it."""
        self._terminal = TerminalOutput(options.layout.log)
        self._signals = SignalGuard(
            options.preemption, self._box, self._signal_arrived, self._signal_noted
        )

    def start(self) -> None:
        """Install the signal handlers.

        Raises:
            ThreadRefusedError: If the system allows no thread for them; none is installed then.
        """
        self._signals.install()

    def close(self) -> None:
        """Restore the previous signal handlers; nothing is saved any more."""
        with self._guard:  # what is being written as a last resort is written first
            self.reserve = None
        # Before the timer is cancelled: a signal that has arrived is told first, and may start it.
        self._signals.restore()
        self._cancel_last_resort()
        # A run that is closed leaves no thread behind. This one ends as soon as it is cancelled.
        if self._timer is not None and self._timer is not threading.current_thread():
            self._timer.join(_PATIENCE_SECS)

    # -- requests

    def request(self, reason: str) -> None:
        """Request that the run saves and stops at its next safe point; from any thread."""
        self._box.put(StopRequest(reason, self._options.preemption.exit_code))

    def goes_away(self, source: str, left_secs: float) -> None:
        """Handle a notice that the machine goes away: save and stop; from any thread.

        Args:
            source: the source of the notice.
            left_secs: the seconds until it goes away. A later notice replaces an earlier one.
        """
        self._set_deadline(left_secs)
        self.request(source)
        # Last, because storage may take its time.
        self._journal.record(events.NoticeReceived(source=source, grace_secs=left_secs))

    def stays(self) -> None:
        """Withdraw the notice, so that the present save has no deadline any more."""
        self._deadline = None
        self._cancel_last_resort()

    def _set_deadline(self, left_secs: float) -> None:
        self._grace_secs, self._deadline = left_secs, time.monotonic() + left_secs
        self._schedule_last_resort()

    @property
    def requested(self) -> bool:
        """Whether the run is to stop at its next safe point."""
        return self._box.get() is not None

    @property
    def answered_elsewhere(self) -> bool:
        """Whether another run of this process has served the request.

        If so, the program is ending already.
        """
        return self._box.answered_elsewhere

    # -- serving them

    def serve(self, taken: Taken | None = None, leave: Callable[[], None] | None = None) -> None:
        """Save and stop here if that was requested.

        Args:
            taken: the snapshot to save; by default one of the present state.
            leave: called when the state is saved, before the program is left.

        Raises:
            BackgroundSaveError: If an earlier save failed, although this one succeeded. Or if this
                one failed.
            Preempted: With the state saved. After Ctrl-C it is `KeyboardInterrupt` instead. If the
                signal had a handler before ours, it is what that handler raises.
        """
        request = self._box.get()
        if request is None:
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
                if taken is None:
                    session.warn_partial_step()
                at = self._save_before_the_end(request, taken, at)
        # Raises what failed, in this save or an earlier one: then nobody is told that all is safe.
        self._saver.wait()
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
        # Served: a program that catches `Preempted` may train on, and is not stopped again.
        self._box.clear()
        self._deadline = None
        return at

    def answer_late(self) -> None:
        """Leave the program if a request came when everything was saved already.

        Raises:
            Preempted: As `serve` does.
        """
        if (request := self._box.get()) is not None:
            _answer(request, self._session.progress.position)

    # -- before the machine goes away

    def _signal_noted(self, name: str) -> None:
        # Here too: the main thread might print before the helper thread gets its turn.
        if name == "SIGHUP":
            self._terminal.move()

    def _signal_arrived(self, name: str) -> None:
        self._signal_noted(name)  # first: what is logged below goes there as well
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
        self._journal.record(events.SignalReceived(signal=name, phase=session.phases.phase.value))

    def _schedule_last_resort(self) -> None:
        self._cancel_last_resort()
        # Late enough that training may reach a safe point by itself, and early enough to write:
        # half as long again as a save takes, and a second.
        write_secs = self._saver.write_secs or 0.0
        after_secs = max(self._grace_secs - 1.5 * write_secs - 1.0, 0.0)
        try:
            self._timer = start_timer(after_secs, self._last_resort, "ckptkit-last-resort")
        except ThreadRefusedError as error:
            logger.warning("nothing is saved before the training reaches a safe point: %s", error)

    def _cancel_last_resort(self) -> None:
        if (timer := self._timer) is not None:
            timer.cancel()

    def _last_resort(self) -> None:
        """Save the reserve snapshot, because the training thread is in a long step."""
        session = self._session
        with self._guard:
            reserve = self.reserve
            # Not `requested`: Python's handler has to wait for the training thread as well.
            if (
                self._deadline is None
                or reserve is None
                or (reserve.position == session.saved_at != self._saver.unsaved)
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
            # An error on this thread would reach nobody. The training thread saves as well, if it
            # reaches a safe point.
            except CheckpointError as error:
                logger.warning("not saved: %s", error)

    def _save_before_the_end(
        self, request: StopRequest, taken: Taken | None, at: RunPosition
    ) -> RunPosition:
        """Save what can be saved in the time that is left.

        Returns:
            The position from which the next start resumes.
        """
        decision = decide(
            left_secs=None if self._deadline is None else self._deadline - time.monotonic(),
            write_secs=self._saver.write_secs,
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
    """Leave the program in the requested way, after the state was saved."""
    if request.before is not None:
        request.before()
    if request.interrupt:
        raise KeyboardInterrupt
    raise Preempted(request.exit_code, at.step)
