"""Remembers signals, notices and `ckptkit stop`, and passes them on to the training."""

from __future__ import annotations

import signal
import time

from ckptkit.exit_codes import SIGNAL_BASE, ExitCode
from ckptkit.launcher.escalation import escalation
from ckptkit.launcher.launch_history import LaunchHistory
from ckptkit.launcher.launcher_settings import Settings
from ckptkit.launcher.notices.notice import Notice
from ckptkit.launcher.restart_decision import RestartDecision, StopContext
from ckptkit.launcher.stop_reasons import StopReasons
from ckptkit.launcher.training_process import TrainingProcess
from ckptkit.log import logger
from ckptkit.run.control_requests import ControlRequest
from ckptkit.run.events import NoticeReceived, Requested, SignalReceived

_INSISTING = 3
"""The number of Ctrl-C after which the training is killed."""


class StopHandling:
    """Keeps all requests to stop since the launcher began, and passes them on to the training.

    Args:
        settings: the grace period, and the signal of a notice.
        history: records each signal and notice.

    Attributes:
        reasons: the current notices, and the deadlines of the training.
        child: the running training, or None between two starts.
        stop_source: who called `ckptkit stop`; empty if it was not called.
    """

    def __init__(self, settings: Settings, history: LaunchHistory) -> None:
        self._settings, self._history = settings, history
        self.reasons = StopReasons()
        self.child: TrainingProcess | None = None
        self.stop_source = ""
        self._interrupts = 0
        self._hung_up = False
        self._forwarded: set[str] = set()

    @property
    def pending(self) -> bool:
        """Whether something was received that forbids the next start."""
        return bool(self.reasons.notice or self._interrupts or self.stop_source or self._hung_up)

    def begin_start(self) -> None:
        """Forget the signals that were received during the earlier start."""
        self._forwarded.clear()

    def end_start(self) -> None:
        """Remove the deadlines of a training that has ended."""
        self.child = None
        self.reasons.ended()

    def context(self) -> StopContext:
        """Return the signals and notices that were received while the training ran."""
        notice = self.reasons.notice
        return StopContext(
            notice=_words(notice) if notice is not None else "",
            interrupted=self._interrupts > 0,
            warned="SIGUSR1" in self._forwarded,
            signals=frozenset(self._forwarded),
        )

    def decision_between_starts(self) -> RestartDecision:
        """Return how the launcher ends because of a request that came while no training ran."""
        if self._interrupts:
            reason = "it was interrupted before the next start"
            return RestartDecision(False, reason, exit_code=ExitCode.INTERRUPTED)
        if self.stop_source:
            reason = f"it was asked to stop ({self.stop_source}), before the next start"
            return RestartDecision(False, reason, exit_code=ExitCode.PREEMPTED)
        if self.reasons.notice:
            reason = "the machine goes away, before the next start"
            return RestartDecision(False, reason, exit_code=ExitCode.PREEMPTED, elsewhere=True)
        reason = "it received SIGHUP before the next start"
        return RestartDecision(False, reason, exit_code=SIGNAL_BASE + signal.SIGHUP)

    def take(self, message: object) -> None:
        """Handle a signal or a notice."""
        if isinstance(message, Notice):
            self._take_notice(message)
        elif isinstance(message, signal.Signals):
            self._take_signal(message)

    def take_request(self, request: ControlRequest | None) -> None:
        """Handle a request from the run directory, if it is for this launcher."""
        if (
            self.stop_source
            or request is None
            or (request.launcher, request.action) != (self._history.id, "stop")
        ):
            return
        self.stop_source = request.source
        logger.warning("%s: the training is not started again", request.source)
        if self.child is not None:
            self.child.ask(request.source, None)
        self._history.record(Requested(id=request.id, action=request.action, source=request.source))

    def _take_notice(self, notice: Notice) -> None:
        """Tell the training that a notice came or was cancelled."""
        if notice.cancelled:
            if self.reasons.withdraw(notice):
                logger.warning(
                    "the notice that this machine will go away was cancelled (%s)%s",
                    _words(notice),
                    ": there is no deadline any more"
                    if self.reasons.escalation is None
                    else ", but another reason to stop remains",
                )
                if self.child is not None:
                    self._send_deadline(self.child, notice)
        else:
            self._stop_child(notice, signal.Signals[self._settings.signal])
            logger.warning(
                "the machine goes away in %.0f s (%s)", notice.grace_secs, _words(notice)
            )
        self._history.record(NoticeReceived(source=notice.source, grace_secs=notice.grace_secs))

    def _take_signal(self, number: signal.Signals) -> None:
        """Pass a signal on to the training, or remember it if no training runs."""
        self._forwarded.add(number.name)
        if number == signal.SIGTERM:
            self._stop_child(
                Notice(number.name, self._settings.grace_secs, "the launcher was told to end"),
                number,
            )
        else:
            self._interrupts += number == signal.SIGINT
            reached = self.child is not None and self.child.send(number)
            if number == signal.SIGUSR1 and not reached:
                self.reasons.add(
                    Notice(number.name, 0.0, "a batch system's warning, while no training ran")
                )
            self._hung_up |= number == signal.SIGHUP and not reached
            if self.child is not None and self._interrupts >= _INSISTING:
                self.child.send_to_group(signal.SIGKILL)
        self._history.record(SignalReceived(signal=number.name, phase="launching"))

    def _stop_child(self, notice: Notice, number: signal.Signals) -> None:
        # The deadline is written first, because the training's signal handler reads it.
        is_news = self.reasons.add(notice, escalation(time.monotonic(), notice.grace_secs))
        if self.child is not None:
            if is_news:
                self._send_deadline(self.child, notice)
            self.child.send(number)

    def _send_deadline(self, child: TrainingProcess, notice: Notice) -> None:
        """Tell the training how much time all current reasons leave; its latest message counts."""
        present = self.reasons.escalation
        if present is None:
            child.ask(_words(notice), None, cancelled=True)
        else:
            child.ask(
                _words((notice.cancelled and self.reasons.notice) or notice),
                max(present.kill_at - time.monotonic(), 0.0),
            )


def _words(notice: Notice) -> str:
    return f"{notice.source}: {notice.reason}"
