"""Runs one training of an audit, interrupts it as planned, and restarts it each time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ckptkit.audit.interruptions import InterruptionMoment
from ckptkit.audit.sandbox import Sandbox
from ckptkit.clock import Clock
from ckptkit.errors import CheckpointError
from ckptkit.export.export_spec import OFF
from ckptkit.launcher.inbox import Inbox, reap
from ckptkit.launcher.launcher_settings import Settings
from ckptkit.launcher.process_tree import ProcessTree
from ckptkit.launcher.stall_detector import StallDetector
from ckptkit.launcher.training_output import TrainingLog
from ckptkit.launcher.training_process import TrainingProcess
from ckptkit.run.audit_settings import ENVIRONMENT, HELD, AuditInstructions, write_instructions
from ckptkit.run.launcher_channel import ChannelState

_LOOK_SECS = 0.05
_HOLD_LOOK_SECS = 0.005
_SWEEP_SECS = 5.0
_SHOWN_LINES = 12
_LOG_BYTES = 64_000_000
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_SECS = 2.0


class TrainingError(CheckpointError):
    """The audited training failed by itself, or does not use ckptkit."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Time limits of a training.

    Args:
        hang_secs: after so many seconds without progress the training is ended; 0 for never.
        first_step_secs: the shortest such limit before the first step.
        limit_secs: how long one start may take in all; 0 for no limit.
    """

    hang_secs: float = 600.0
    first_step_secs: float = 1800.0
    limit_secs: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainingStart:
    """One process of a training, from its start to its end.

    Args:
        code: its exit code, or the negative number of the signal that ended it.
        state: the last report that it sent on the channel.
        step: the step at which it was interrupted; None if it ended before it reached the chosen
            step.
        time: the time of the interruption, in seconds since the epoch.
    """

    code: int
    state: ChannelState | None
    step: int | None
    time: float


@dataclass(frozen=True)
class Interruption:
    """A planned interruption, and the start in which it was due.

    Args:
        moment: the plan.
        start: the start in which it was due; the start knows whether it was interrupted.
    """

    moment: InterruptionMoment
    start: TrainingStart


@dataclass(kw_only=True)
class Trained:
    """What is known about one training of an audit after its end.

    Args:
        place: its sandbox.
        secs: its duration in seconds.
        interruptions: its interruptions, in order.
        reported: whether its last start reported a run.
    """

    place: Sandbox
    secs: float = 0.0
    reported: bool = False
    interruptions: list[Interruption] = field(default_factory=list)


Tell = Callable[[int, ChannelState | None, InterruptionMoment | None], None]
"""A callback for progress: the start's number, the training's report, an interruption just sent."""


class Trainer:
    """Runs the trainings of an audit.

    While it runs them, it receives this process's signals and collects all child processes.

    Args:
        command: the program and its arguments.
        environment: the environment of the training.
        inbox: receives the signals of this process.
        tree: the processes that the trainings start.
        limits: the time limits of each training.
        clock: gives requests their times.
        tell: is called to report the progress.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        inbox: Inbox,
        tree: ProcessTree,
        limits: Limits,
        clock: Clock,
        tell: Tell,
    ) -> None:
        self._command, self._inbox, self._tree, self._limits, self._clock, self._tell = (
            command,
            inbox,
            tree,
            limits,
            clock,
            tell,
        )
        self._number = 1
        # An export is not part of the state, and its check starts a process that imports
        # TensorFlow.
        self._environment = {
            OFF: "0",
            **{name: value for name, value in environment.items() if name != ENVIRONMENT},
        }

    def run(
        self, place: Sandbox, every: int, moments: Sequence[InterruptionMoment] = ()
    ) -> Trained:
        """Run one training to its end, and interrupt it on the way.

        Args:
            place: its sandbox.
            every: the steps between two saves; see `AuditInstructions`.
            moments: when to interrupt it, in order.

        Raises:
            TrainingError: If it fails by itself.
            KeyboardInterrupt: If this process gets a signal to end; the training has ended then.
        """
        began = time.monotonic()
        log = TrainingLog(_LOG_BYTES, 1)
        log.open(place.log)
        trained = Trained(place=place)
        try:
            for number, moment in enumerate(moments):
                self._number = number + 1
                trained.interruptions.append(
                    Interruption(moment, self._run_once(place, every, log, moment))
                )
            self._number = len(moments) + 1
            state = self._run_once(place, every, log, None).state
            trained.reported = state is not None and bool(state.run)
        finally:
            log.close(_SWEEP_SECS)
        trained.secs = time.monotonic() - began
        return trained

    def _run_once(
        self, place: Sandbox, every: int, log: TrainingLog, moment: InterruptionMoment | None
    ) -> TrainingStart:
        """Start the training once, with or without an interruption, and wait for its end."""
        self._give_orders(place, every, moment)
        try:
            environment = {
                **self._environment,
                ENVIRONMENT: str(place.instructions),
                "PWD": str(place.work),
            }
            child = TrainingProcess(
                self._command,
                environment,
                log,
                self._tree,
                self._clock,
                directory=place.work,
                shown=False,
            )
        except OSError as error:
            raise TrainingError(
                f"Could not start {self._command[0]}: {error.strerror or error}. Expected a "
                "command, as in: ckptkit audit -- python train.py"
            ) from error
        try:
            start = self._until_ended(child, place, moment)
            self._tree.sweep(_SWEEP_SECS, self._sleep_and_reap)
            child.finish()
            child.end_lines()
            if start.code != 0 and (
                start.step is None or (start.state is not None and start.state.outcome == "failed")
            ):
                how = (
                    f"with exit code {start.code}"
                    if start.code >= 0
                    else f"by {signal.Signals(-start.code).name}"
                )
                raise TrainingError(
                    f"The training ended by itself, {how}. {_ended_with(child.printed, place)}"
                )
            return start
        finally:
            self._end(child)
            child.close()

    def _give_orders(self, place: Sandbox, every: int, moment: InterruptionMoment | None) -> None:
        place.hold.unlink(missing_ok=True)
        instructions = AuditInstructions(home=str(place.home), every=every)
        if moment is not None:
            place.hold.touch()
            instructions = replace(
                instructions,
                hold_step=moment.step,
                hold_run=str(place.path_of(moment.run)),
                hold=str(place.hold),
            )
        write_instructions(place.instructions, instructions)

    def _until_ended(
        self, child: TrainingProcess, place: Sandbox, moment: InterruptionMoment | None
    ) -> TrainingStart:
        """Wait for the end of the training, and interrupt it when it pauses at the planned step."""
        detector = StallDetector(
            Settings(
                stall_secs=0.0,
                hang_secs=self._limits.hang_secs,
                first_step_secs=self._limits.first_step_secs,
            ),
            time.monotonic(),
        )
        began, ended, held, sent_at, at = time.monotonic(), None, None, 0.0, 0.0
        while True:
            if (status := reap(child.pid)) is not None:
                ended = status
                child.mark_reaped(status)
            if ended is not None and not child.is_training:
                return TrainingStart(
                    code=os.waitstatus_to_exitcode(ended), state=child.state, step=held, time=at
                )
            self._inbox.wait(
                _LOOK_SECS if moment is None or held is not None else _HOLD_LOOK_SECS, self._handle
            )
            state = child.state
            self._tell(self._number, state, None)
            if moment is not None and held is None and state is not None and state.phase == HELD:
                held, at, sent_at = state.step, self._clock.now(), time.monotonic()
                child.send(signal.Signals[moment.signal])
                self._tell(self._number, state, moment)
            if held is not None and time.monotonic() - sent_at > _PATIENCE_SECS:
                # The training ignores this signal. Not released earlier, or it would do one more
                # step before it obeys.
                place.hold.unlink(missing_ok=True)
            self._check_limits(detector, state, began, child, place)

    def _check_limits(
        self,
        detector: StallDetector,
        state: ChannelState | None,
        began: float,
        child: TrainingProcess,
        place: Sandbox,
    ) -> None:
        now = time.monotonic()
        stall = detector.observe(state, now)
        if stall is not None:
            child.dump()
            time.sleep(
                _LOOK_SECS
            )  # wait for its stacks in the output, because the error quotes them
            raise TrainingError(
                f"The training made no progress for {stall.secs:.0f} s and was killed "
                f"(--hang-secs). "
                f"{_ended_with(child.printed, place)}"
            )
        if self._limits.limit_secs and now - began > self._limits.limit_secs:
            raise TrainingError(
                f"The training took longer than {self._limits.limit_secs:g} s and was killed "
                f"(--limit-secs). "
                f"{_ended_with(child.printed, place)}"
            )

    def _end(self, child: TrainingProcess) -> None:
        """Kill all processes of the training that still run."""
        if self._tree.living():
            child.send_to_group(signal.SIGKILL)
            child.send(signal.SIGKILL)
            self._tree.sweep(0.0, self._sleep_and_reap)

    def _sleep_and_reap(self, secs: float) -> None:
        time.sleep(secs)
        reap(0)

    def check_interrupted(self) -> None:
        """Raise if this process has received a signal to end.

        The inbox reports signals only when asked.

        Raises:
            KeyboardInterrupt: If such a signal came, for example by Ctrl-C.
        """
        self._inbox.wait(0.0, self._handle)

    def _handle(self, message: object) -> None:
        if message in _INTERRUPTIONS:
            raise KeyboardInterrupt


def _ended_with(printed: Sequence[str], place: Sandbox) -> str:
    """Return a text with the last lines of the training's output and the path of its log."""
    lines = [line for line in printed if line.strip()][-_SHOWN_LINES:]
    end = (
        "\n".join(["Its standard error ended with:", *(f"  {line}" for line in lines)])
        if lines
        else "It wrote nothing to standard error."
    )
    return f"Its whole output is in {place.log}. {end}"
