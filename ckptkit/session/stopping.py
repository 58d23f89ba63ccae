"""Stopping because somebody asked for it: a signal, a notice, the program itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from ckptkit.errors import CheckpointError, Preempted
from ckptkit.log import logger
from ckptkit.position import RunPosition
from ckptkit.preemption.request import StopBox, StopRequest
from ckptkit.preemption.signals import SignalGuard
from ckptkit.run import events
from ckptkit.run.catalog import list_checkpoints
from ckptkit.run.journal import Journal
from ckptkit.session.options import RunOptions
from ckptkit.session.saver import Saver, Taken


class Stoppable(Protocol):
    """What has to be known of an attempt to stop it."""

    position: RunPosition
    phase: str
    done: bool

    @property
    def saved_at(self) -> RunPosition:
        """Where the last save was taken, or where the attempt began."""
        ...

    def is_saved(self, at: RunPosition) -> bool:
        """Whether nothing is left to be saved at a position."""
        ...

    def save(self, trigger: str, taken: Taken | None = None) -> None:
        """Hands a snapshot to the writer; by default one of now."""
        ...

    def warn_partial_step(self) -> None:
        """Says where a turn is left after it has trained."""
        ...


class Stopping:
    """Takes requests to stop, from when it is made until `end`, and serves them.

    Args:
        attempt: what is to be stopped.
        plan: of the attempt.
        journal: of the attempt.
        saver: of the attempt.

    Attributes:
        before_signal: called when a signal has arrived, before it is known how much time is left: a
            launcher may have said so.
        reserve: a snapshot that is written where the training thread comes to no safe point before
            the machine goes away.
        preempted: whether the attempt was stopped, with its state saved.
        served: the request for which it was.
    """

    def __init__(
        self, attempt: Stoppable, plan: RunOptions, journal: Journal, saver: Saver
    ) -> None:
        self._attempt, self._plan, self._journal, self._saver = attempt, plan, journal, saver
        self.reserve: Taken | None = None
        self.preempted, self.served = False, ""
        self._box = StopBox()
        self._deadline: float | None = None
        self._timer: threading.Timer | None = None
        self._grace_secs = plan.preemption.grace_secs
        self.before_signal: Callable[[], None] = lambda: None
        self._guard = threading.Lock()
        self._signals = SignalGuard(plan.preemption, self._box, self._signal_arrived)
        self._signals.install()

    def request(self, reason: str) -> None:
        """Asks the run to save and stop at its next safe point; from any thread."""
        self._box.put(StopRequest(reason, self._plan.preemption.exit_code))

    def goes_away(self, source: str, left_secs: float) -> None:
        """The machine goes away in so many seconds: the run is to save and stop, as by `request`;
        from any thread. What is said last counts.
        """
        self._set_deadline(left_secs)
        self.request(source)
        self._journal.record(
            events.NoticeReceived(source=source, grace_secs=left_secs)
        )  # last: storage may take its time

    def stays(self) -> None:
        """The machine does not go away after all: there is all the time for what was begun."""
        self._deadline = None
        self._call_off_last_resort()

    def _set_deadline(self, left_secs: float) -> None:
        self._grace_secs, self._deadline = left_secs, time.monotonic() + left_secs
        self._call_last_resort()

    @property
    def requested(self) -> bool:
        """Whether the run is to stop at its next safe point."""
        return self._box.get() is not None

    @property
    def answered_elsewhere(self) -> bool:
        """Whether another run of this process has answered the request, so that the program is
        being left.
        """
        return self._box.answered_elsewhere

    def serve(self, taken: Taken | None = None, leave: Callable[[], None] | None = None) -> None:
        """Stops here where that was asked for.

        Args:
            taken: the snapshot to save; by default one of now.
            leave: called when the state is safe, before the process is left.

        Raises:
            BackgroundSaveError: what went wrong in an earlier save, with the state saved; or in
                this one.
            Preempted: with the state saved. After Ctrl-C it is `KeyboardInterrupt` instead, and
                where a handler was there before ours, whatever that raises.
        """
        request = self._box.get()
        if request is None:
            return
        began = self._plan.clock.monotonic()
        at = taken.position if taken is not None else self._attempt.position
        phase, self._attempt.phase = self._attempt.phase, "saving"
        with self._guard:
            if not self._attempt.done and not self._attempt.is_saved(at):
                if taken is None:
                    self._attempt.warn_partial_step()
                at = self._save_before_the_end(request, taken, at)
        self._saver.wait()
        self._journal.record(
            events.RunPreempted(
                step=at.step,
                reason=request.reason,
                exit_code=request.exit_code,
                secs=self._plan.clock.monotonic() - began,
            ),
        )
        logger.info("stopped by %s at %s; the next start goes on from there", request.reason, at)
        self.preempted, self.served = True, request.reason
        self._box.clear()
        self._deadline, self._attempt.phase = None, phase
        if leave is not None:
            leave()
        _answer(request, at)

    def answer_late(self) -> None:
        """Leaves the program where a request came when all was saved already.

        Raises:
            Preempted: see `serve`.
        """
        if (request := self._box.get()) is not None:
            _answer(request, self._attempt.position)

    def end(self) -> None:
        """Gives the process back the handlers that it had; nothing is saved any more."""
        with self._guard:  # what is being written as a last resort is written first
            self.reserve = None
        self._call_off_last_resort()
        self._signals.restore()

    # -- before the machine goes away

    def _signal_arrived(self, name: str) -> None:
        if name == "SIGINT":
            logger.warning("saving step %d; Ctrl-C again to stop now", self._attempt.position.step)
        else:
            self.before_signal()
            if self._deadline is None:
                self._set_deadline(self._plan.preemption.grace_secs)
            logger.warning(
                "received %s while %s: saving at the next safe point, then stopping",
                name,
                self._attempt.phase,
            )
        self._journal.record(events.SignalReceived(signal=name, phase=self._attempt.phase))

    def _call_last_resort(self) -> None:
        """Late enough that training may come to a safe point by itself, and early enough to write."""
        self._call_off_last_resort()
        timer = self._timer = threading.Timer(
            max(self._grace_secs - 1.5 * (self._saver.write_secs or 0.0) - 1.0, 0.0),
            self._last_resort,
        )
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError as error:  # no further thread
            logger.warning("nothing is saved before the training comes to a safe point: %s", error)

    def _call_off_last_resort(self) -> None:
        """The time that it was meant for is another one now."""
        if (timer := self._timer) is not None:
            timer.cancel()

    def _last_resort(self) -> None:
        """The training thread sits in a long step or evaluation, and the machine goes away: what
        was held in reserve is saved without it.
        """
        with self._guard:
            reserve = self.reserve
            # Not `requested`: Python's handler has to wait for the training thread as well.
            if (
                self._deadline is None
                or reserve is None
                or (reserve.position == self._attempt.saved_at != self._saver.unsaved)
            ):
                return
            reason = f"no safe point within {self._grace_secs:.3g} s of grace, while {self._attempt.phase}"
            logger.warning("%s: saving %s, from before", reason, reserve.position)
            self._journal.record(events.EmergencyDecided(action="reserve", reason=reason))
            try:
                self._attempt.save(f"the machine goes away; {reason}", reserve)
            # nobody would hear of it on this thread; the training thread saves where it comes to a
            # safe point
            except CheckpointError as error:
                logger.warning("not saved: %s", error)

    def _save_before_the_end(
        self, request: StopRequest, taken: Taken | None, at: RunPosition
    ) -> RunPosition:
        """Saves what can be saved in the time that is left, and says where the next start will go
        on.
        """
        decision = self._saver.decide(self._deadline)
        if self._deadline is not None:
            self._journal.record(
                events.EmergencyDecided(action=decision.action, reason=decision.reason),
            )
        if decision.action == "save":
            self._attempt.save(request.reason, taken)
            return at
        logger.warning("not saved at %s: %s", at, decision.reason)
        self._saver.wait()
        newest = list_checkpoints(self._plan.layout)
        return newest[-1].manifest.position if newest else RunPosition()


def _answer(request: StopRequest, at: RunPosition) -> NoReturn:
    """Leaves the program as it was asked to; the state is safe."""
    if request.before is not None:
        request.before()
    if request.interrupt:
        raise KeyboardInterrupt
    raise Preempted(request.exit_code, at.step)
