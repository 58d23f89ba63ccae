"""`ckptkit run`: starts a training, watches over it, and starts it again where that can help.
Effects only; what is decided is decided elsewhere.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ckptkit.clock import Clock, SystemClock
from ckptkit.errors import CheckpointError
from ckptkit.exit_codes import SIGNAL_BASE, ExitCode, ShellCode
from ckptkit.launcher.escalation import escalation
from ckptkit.launcher.exit_cause import Cause, ExitCause, ending_of
from ckptkit.launcher.inbox import Inbox, reap
from ckptkit.launcher.launch_history import LaunchHistory
from ckptkit.launcher.launcher_settings import Settings
from ckptkit.launcher.notices.notice import Notice
from ckptkit.launcher.oom_counter import oom_counter
from ckptkit.launcher.process_tree import ProcessTree, adopt_orphans
from ckptkit.launcher.restart_decision import Past, RestartDecision, Told, decide
from ckptkit.launcher.slurm import put_back
from ckptkit.launcher.stall_detector import StallDetector
from ckptkit.launcher.stop_reasons import StopReasons
from ckptkit.launcher.storage_worker import Done, StorageWorker
from ckptkit.launcher.training_output import TrainingLog
from ckptkit.launcher.training_process import TrainingProcess
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.control_requests import ControlRequest, read_request
from ckptkit.run.events import (
    LaunchDecided,
    LaunchEnded,
    NoticeReceived,
    Requested,
    SignalReceived,
    Stalled,
    Swept,
)
from ckptkit.run.launcher_channel import ChannelState
from ckptkit.storage.files import FileSystem

Watch = Callable[[Callable[[Notice], None], threading.Event], threading.Thread | None]
"""Starts to watch for notices: tells each one, until the event is set."""

_LOOK_SECS = 0.25
_SWEEP_SECS = 5.0
_REQUEST_SECS = 1.0
_INSISTING = 3


class Supervisor:
    """Watches over one training. It takes signals, orphans and dead children of this whole process:
    one at a time, in a process of its own.

    Args:
        command: the program and its arguments.
        settings: budgets and limits.
        environment: of this process.
        watch: who knows that the machine will go away.
        clock: where the time comes from.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: Settings,
        environment: Mapping[str, str] | None = None,
        watch: Watch | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._command, self._settings, self._watch = list(command), settings, watch
        self._environment = dict(os.environ if environment is None else environment)
        self._clock = clock or SystemClock()
        self._record = LaunchHistory(self._clock, FileSystem())
        self._log = TrainingLog(settings.log_bytes, settings.log_files)
        self._family, self._adopts = ProcessTree(), False
        self._oom = oom_counter()
        self._inbox: Inbox
        self._aside: StorageWorker
        self._child: TrainingProcess | None = None
        self._heard: tuple[str, int] | None = None
        self._reasons = StopReasons()
        self._interrupts = 0
        self._hung_up = False
        self._asked, self._looked_at = "", 0.0
        self._passed_on: set[str] = set()
        self._number = 0

    def run(self) -> int:
        """Runs the training to an end.

        Returns:
            The exit code.

        Raises:
            ConfigError, StorageError: where the run directory that was named cannot be used.
        """
        stop = threading.Event()
        self._adopts = adopt_orphans()
        with Inbox() as self._inbox:
            self._aside = StorageWorker(self._inbox.put)
            if self._settings.run:
                self._opened(self._settings.run, partial(self._record.look, self._settings.run))
            watcher = self._watch(self._inbox.put, stop) if self._watch is not None else None
            try:
                decision = self._after_a_lost_one() or RestartDecision(True, "")
                while decision.restart:
                    decision = (
                        self._one_life()
                        if self._wait_before_start(decision)
                        else self._told_while_waiting()
                    )
            finally:
                stop.set()
                self._log.close(_SWEEP_SECS)
                self._record.close()
            if watcher is not None:
                watcher.join(_LOOK_SECS)
            if decision.elsewhere:
                put_back(self._environment)  # Slurm answers with SIGTERM, which is still taken here
        return decision.exit_code

    # -- from one start to the next

    def _after_a_lost_one(self) -> RestartDecision | None:
        """A launcher of this machine was killed over a training, as with its whole container: that
        counts as if this one had seen it.
        """
        past, inferred = self._record.past(), self._record.infer(here_only=True)
        if inferred is None or inferred[0].cause not in ("memory", "killed"):
            return None
        lost, advanced = inferred
        cause: Cause = "memory" if lost.cause == "memory" else "killed"
        return self._decided(
            ExitCause(
                cause=cause,
                words=lost.words,
                heard=True,
                trained=True,
                advanced=advanced,
                step=lost.step,
            ),
            past,
        )

    def _wait_before_start(self, decision: RestartDecision) -> bool:
        """Waits; False where the launcher was told to end meanwhile."""
        until = time.monotonic() + random.uniform(0.0, decision.most_wait_secs)
        while not self._is_told():
            left = until - time.monotonic()
            if left <= 0:
                break
            self._inbox.wait(min(left, _REQUEST_SECS), self._handle)
            reap(0)
            self._look_for_stop()
        else:
            return False
        self._inbox.wait(0.0, self._handle)
        self._look_for_stop(at_once=True)
        while self._aside.busy and not self._is_told():
            self._let_time_pass(_LOOK_SECS)
        return not self._is_told()

    def _is_told(self) -> bool:
        return bool(self._reasons.notice or self._interrupts or self._asked or self._hung_up)

    def _look_for_stop(self, *, at_once: bool = False) -> None:
        """`ckptkit stop` where no training has the run: the launcher is asked."""
        layout = self._record.layout
        due = at_once or (
            time.monotonic() - self._looked_at >= _REQUEST_SECS and not self._aside.busy
        )
        if layout is None or self._asked or not due:
            return
        self._looked_at = time.monotonic()
        self._aside.do(partial(read_request, layout.request), self._take_request)

    def _take_request(self, read: Callable[[], ControlRequest | None]) -> None:
        request = read()
        if (
            self._asked
            or request is None
            or (request.launcher, request.action) != (self._record.id, "stop")
        ):
            return
        self._asked = request.source
        logger.warning("%s: the training is not started again", request.source)
        if self._child is not None:
            self._child.ask(request.source, None)
        self._record.tell(Requested(id=request.id, action=request.action, source=request.source))

    def _told_while_waiting(self) -> RestartDecision:
        if self._interrupts:
            decision = RestartDecision(
                False, "it was interrupted before the next start", exit_code=ExitCode.INTERRUPTED
            )
        elif self._asked:
            decision = RestartDecision(
                False,
                f"somebody asked it to stop ({self._asked}), before the next start",
                exit_code=ExitCode.PREEMPTED,
            )
        elif self._reasons.notice:
            decision = RestartDecision(
                False,
                "the machine goes away, before the next start",
                exit_code=ExitCode.PREEMPTED,
                elsewhere=True,
            )
        else:
            decision = RestartDecision(
                False, "SIGHUP came before the next start", exit_code=SIGNAL_BASE + signal.SIGHUP
            )
        self._say(decision)
        return decision

    def _one_life(self) -> RestartDecision:
        """Starts the training once, and decides when it has ended."""
        self._number += 1
        self._record.starts(
            self._number, Path(self._command[0]).name.encode(errors="backslashreplace").decode()
        )
        while not self._record.is_written(_LOOK_SECS):
            self._let_time_pass(0.0)
            if self._is_told():
                return self._told_while_waiting()
        kills_before = self._oom.read()
        self._passed_on.clear()
        self._heard = None
        try:
            child = self._child = TrainingProcess(
                self._command, self._environment, self._log, self._family, self._clock
            )
        except OSError as error:
            code = (
                ShellCode.NOT_FOUND
                if isinstance(error, FileNotFoundError)
                else ShellCode.NOT_EXECUTABLE
            )
            logger.error("could not start %s: %s", self._command[0], error.strerror or error)
            ending = ExitCause(
                cause="exit", words=f"could not be started: {error.strerror or error}", code=code
            )
            return self._ended(ending)
        try:
            status, hung_secs = self._until_it_ends(child)
            said = self._sweep(child)
            self._hear(said)  # of a run that it has opened just before its end
            while self._aside.busy:
                self._let_time_pass(_LOOK_SECS)
            child.finish()
            ended_with = os.waitstatus_to_exitcode(status)
            ending = ending_of(
                pid=child.pid,
                code=ended_with if ended_with >= 0 else None,
                signal_number=-ended_with if ended_with < 0 else None,
                said=said,
                hung_secs=hung_secs,
                oom_kills=self._oom.read() - kills_before,
                printed=child.printed,
                advanced=self._record.has_advanced,
                step=self._record.step,
            )
        finally:
            self._child = None
            self._reasons.ended()
            child.close()
        decision = self._ended(ending)
        if decision.restart:
            child.end_lines()
        return decision

    def _ended(self, ending: ExitCause) -> RestartDecision:
        past, ending = self._record.past(), replace(ending, asked=ending.asked or bool(self._asked))
        self._record.ended(
            LaunchEnded(
                launcher=self._record.id,
                number=self._number,
                cause=ending.cause,
                words=ending.words,
                exit_code=ending.code,
                signal=ending.signal,
                step=ending.step,
                last_lines=list(ending.last_lines),
                trained=ending.trained,
                told=ending.asked,
                of_attempt=ending.attempt,
                reached=ending.reached,
            ),
            advanced=ending.advanced,
        )
        return self._decided(ending, past)

    def _decided(self, ending: ExitCause, past: Sequence[Past]) -> RestartDecision:
        notice = self._reasons.notice
        told = Told(
            notice=_words(notice) if notice is not None else "",
            interrupted=self._interrupts > 0,
            warned="SIGUSR1" in self._passed_on,
            signals=frozenset(self._passed_on),
        )
        decision = decide(ending, past, told, self._settings, self._clock.now())
        self._say(decision)
        return decision

    def _say(self, decision: RestartDecision) -> None:
        self._record.tell(
            LaunchDecided(
                action="restart" if decision.restart else "stop",
                exit_code=decision.exit_code,
                wait_secs=decision.most_wait_secs,
                reason=decision.reason,
            )
        )
        if decision.restart:
            wait = (
                f" within {decision.most_wait_secs:.0f} s" if decision.most_wait_secs >= 1 else ""
            )
            logger.warning("starting again%s: %s", wait, decision.reason)
        else:
            logger.info(
                "the launcher ends with exit code %d: %s", decision.exit_code, decision.reason
            )

    # -- while it runs

    def _until_it_ends(self, child: TrainingProcess) -> tuple[int, float | None]:
        """Passes on what comes, and watches; the status of the process, and for how long it had not
        got on where it was ended for that.

        A training below a shell that has ended, as by a signal that only the training knows, goes
        on, or saves: it is waited for as well.
        """
        pulse = StallDetector(self._settings, time.monotonic())
        hung_secs: float | None = None
        looked, status = 0.0, None
        while True:
            if (ended := reap(child.pid)) is not None:
                status = ended
                child.ended(ended)
            if status is not None and (not child.is_training or self._given_up()):
                return status, hung_secs
            self._inbox.wait(self._until_next(), self._handle)
            if not self._adopts and time.monotonic() - looked > _SWEEP_SECS:
                looked = time.monotonic()
                self._family.note()
            said = child.said
            if self._heard is None:
                self._look_for_stop(
                    at_once=said is not None and bool(said.run)
                )  # later on, the training looks itself
            self._hear(said)
            if (
                self._reasons.escalation is None
                and (stall := pulse.observe(said, time.monotonic())) is not None
            ):
                hung_secs = stall.secs if stall.action == "end" else None
                self._stalled(child, said, stall.secs, end=stall.action == "end")
            self._escalate(child)

    def _hear(self, said: ChannelState | None) -> None:
        """Which run it trains: a program may train one after the other, and each counts its
        attempts from 1.
        """
        if said is not None and said.run and (said.run, said.attempt) != self._heard:
            self._heard = said.run, said.attempt
            self._aside.do(partial(self._record.look, said.run), partial(self._found, said.run))

    def _given_up(self) -> bool:
        """What was killed, and is still there, waits in the kernel."""
        present = self._reasons.escalation
        return (
            present is not None
            and present.stage == "killed"
            and time.monotonic() > present.kill_at + _SWEEP_SECS
        )

    def _until_next(self) -> float:
        present = self._reasons.escalation
        next_at = present.next_at() if present is not None else None
        return _LOOK_SECS if next_at is None else min(_LOOK_SECS, next_at - time.monotonic())

    def _escalate(self, child: TrainingProcess) -> None:
        present = self._reasons.escalation
        if present is None or (due := present.due(time.monotonic())) is None:
            return
        self._reasons.stage = due
        if due == "group":
            logger.warning("the training has not ended: asking all processes of its group")
            child.send_to_group(signal.SIGTERM)
        else:
            logger.warning("the training has not ended: killing it")
            child.send_to_group(signal.SIGKILL)
            if child.said is not None and child.is_training:
                child.send(signal.SIGKILL)

    def _stalled(
        self, child: TrainingProcess, said: ChannelState | None, secs: float, *, end: bool
    ) -> None:
        phase, step = (said.phase, said.step) if said is not None else ("starting", 0)
        logger.warning(
            "no progress for %.0f s, while %s at step %d%s",
            secs,
            phase,
            step,
            ": ending the training" if end else "",
        )
        dumped = child.dump()
        if end:
            if dumped:
                time.sleep(_LOOK_SECS)  # its stacks are written before it is asked to end
            self._reasons.hangs(escalation(time.monotonic(), self._settings.grace_secs))
            child.ask("no progress", self._settings.grace_secs)
            child.send(signal.SIGTERM)
        self._record.tell(Stalled(secs=secs, phase=phase, step=step, ended=end))

    def _sweep(self, child: TrainingProcess) -> ChannelState | None:
        """No process of one start lives on beside the next. What the training said last."""
        said = child.said
        present = self._reasons.escalation
        left = present.kill_at - time.monotonic() if present is not None else _SWEEP_SECS
        ended = self._family.sweep(
            min(_SWEEP_SECS, self._settings.grace_secs, left), self._let_time_pass
        )
        if ended:
            logger.info("ended what the training had left behind: %s", ", ".join(ended))
            self._record.tell(Swept(processes=ended))
        return child.said or said

    def _let_time_pass(self, secs: float) -> None:
        self._inbox.wait(secs, self._handle)
        reap(0)

    def _found(self, run: str, look: Callable[[], tuple[RunLayout, int]]) -> None:
        """A training has opened a run."""
        if (layout := self._opened(run, look)) is not None:
            self._aside.do(
                partial(self._record.lost, layout, here_only=False),
                lambda lost: self._record.tell_lost(layout, lost()),
            )

    def _opened(self, run: str, look: Callable[[], tuple[RunLayout, int]]) -> RunLayout | None:
        try:
            layout, step = look()
        except CheckpointError as error:
            if run == self._settings.run:
                raise
            logger.warning("the launcher's own lines cannot be written into %s: %s", run, error)
            return None
        self._record.open(layout, step)
        self._log.open(layout.log)
        return layout

    # -- what comes from outside

    def _handle(self, thing: object) -> None:
        if isinstance(thing, Notice):
            self._take_notice(thing)
        elif isinstance(thing, signal.Signals):
            self._pass_on(thing)
        elif isinstance(thing, Done):
            thing.take()

    def _take_notice(self, notice: Notice) -> None:
        if notice.cancelled:
            if self._reasons.withdraw(notice):
                logger.warning("the machine stays after all (%s)", _words(notice))
                if self._child is not None:
                    self._tell_deadline(self._child, notice)
        else:
            self._tell_child(notice, signal.Signals[self._settings.signal])
            logger.warning(
                "the machine goes away in %.0f s (%s)", notice.grace_secs, _words(notice)
            )
        self._record.tell(NoticeReceived(source=notice.source, grace_secs=notice.grace_secs))

    def _pass_on(self, number: signal.Signals) -> None:
        self._passed_on.add(number.name)
        if number == signal.SIGTERM:
            self._tell_child(
                Notice(number.name, self._settings.grace_secs, "the launcher was told to end"),
                number,
            )
        else:
            self._interrupts += number == signal.SIGINT
            heard = self._child is not None and self._child.send(number)
            if number == signal.SIGUSR1 and not heard:
                self._reasons.add(
                    Notice(number.name, 0.0, "a batch system's warning, while no training ran")
                )
            self._hung_up |= number == signal.SIGHUP and not heard
            if self._child is not None and self._interrupts >= _INSISTING:
                self._child.send_to_group(signal.SIGKILL)
        self._record.tell(SignalReceived(signal=number.name, phase="launching"))

    def _tell_child(self, notice: Notice, number: signal.Signals) -> None:
        """The deadline first, then the signal, and from then on the clock runs."""
        tell = self._reasons.add(notice, escalation(time.monotonic(), notice.grace_secs))
        if self._child is not None:
            if tell:
                self._tell_deadline(self._child, notice)
            self._child.send(number)

    def _tell_deadline(self, child: TrainingProcess, notice: Notice) -> None:
        """How long it has now, by all that still holds; what it is told last counts."""
        present = self._reasons.escalation
        if present is None:
            child.ask(_words(notice), None, cancelled=True)
        else:
            child.ask(
                _words((notice.cancelled and self._reasons.notice) or notice),
                max(present.kill_at - time.monotonic(), 0.0),
            )


def _words(notice: Notice) -> str:
    return f"{notice.source}: {notice.reason}"
