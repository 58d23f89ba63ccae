"""One training of an audit, from its first start to its end: started again after each interruption.
Effects only.
"""

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
from ckptkit.run.audit_orders import ENVIRONMENT, HELD, Orders, write_orders
from ckptkit.run.launcher_channel import ChannelState

_LOOK_SECS = 0.05
_HOLD_LOOK_SECS = 0.005
_SWEEP_SECS = 5.0
_SHOWN_LINES = 12
_LOG_BYTES = 64_000_000
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_SECS = 2.0


class TrainingError(CheckpointError):
    """The training that was to be audited has failed by itself, or is none."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a training may take.

    Args:
        hang_secs: without progress for so long, from its first step on, it is ended; 0 for never.
        first_step_secs: before its first step, so long at least.
        limit_secs: how long one start may take in all; 0 for as long as it takes.
    """

    hang_secs: float = 600.0
    first_step_secs: float = 1800.0
    limit_secs: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainingStart:
    """One process of a training, from its start to its end.

    Args:
        code: the exit code, or the negative number of the signal that ended it.
        said: what it said last.
        step: where it was interrupted; None where it was not: it came to its end without coming to
            that step.
        time: when it was, in seconds since the epoch.
    """

    code: int
    said: ChannelState | None
    step: int | None
    time: float


@dataclass(frozen=True)
class Interruption:
    """An interruption that took place, or did not.

    Args:
        moment: when it was meant to be.
        start: what came of the start that it was meant for.
    """

    moment: InterruptionMoment
    start: TrainingStart


@dataclass(kw_only=True)
class Trained:
    """A training that came to its end.

    Args:
        place: where.
        secs: how long it took.
        interruptions: in their order.
        spoke: whether its last start has opened a run and told so.
    """

    place: Sandbox
    secs: float = 0.0
    spoke: bool = False
    interruptions: list[Interruption] = field(default_factory=list)


Tell = Callable[[int, ChannelState | None, InterruptionMoment | None], None]
"""Is told which start is under way, from 1, what the training says of itself, and the interruption
that has just been sent, or None.
"""


class Trainer:
    """Runs trainings. It takes signals, orphans and dead children of this whole process.

    Args:
        command: the program and its arguments.
        environment: of this process.
        inbox: where signals arrive.
        family: who is there that was started.
        limits: how long it may take.
        clock: where the time comes from.
        tell: is told how it gets on.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        inbox: Inbox,
        family: ProcessTree,
        limits: Limits,
        clock: Clock,
        tell: Tell,
    ) -> None:
        self._command, self._inbox, self._family, self._limits, self._clock, self._tell = (
            command,
            inbox,
            family,
            limits,
            clock,
            tell,
        )
        self._number = 1
        # An export is no part of the state, and its check is a process that imports TensorFlow.
        self._environment = {
            OFF: "0",
            **{name: value for name, value in environment.items() if name != ENVIRONMENT},
        }

    def run(
        self, place: Sandbox, every: int, moments: Sequence[InterruptionMoment] = ()
    ) -> Trained:
        """Runs a training to its end.

        Args:
            place: where.
            every: see `Orders`.
            moments: when it is interrupted, first to last.

        Raises:
            TrainingError: where it fails by itself.
            KeyboardInterrupt: where this process is told to end; the training has ended then.
        """
        began = time.monotonic()
        log = TrainingLog(_LOG_BYTES, 1)
        log.open(place.log)
        trained = Trained(place=place)
        try:
            for number, moment in enumerate(moments):
                self._number = number + 1
                trained.interruptions.append(
                    Interruption(moment, self._one(place, every, log, moment))
                )
            self._number = len(moments) + 1
            said = self._one(place, every, log, None).said
            trained.spoke = said is not None and bool(said.run)
        finally:
            log.close(_SWEEP_SECS)
        trained.secs = time.monotonic() - began
        return trained

    def _one(
        self, place: Sandbox, every: int, log: TrainingLog, moment: InterruptionMoment | None
    ) -> TrainingStart:
        """One start, with an interruption or without one."""
        self._give_orders(place, every, moment)
        try:
            environment = {
                **self._environment,
                ENVIRONMENT: str(place.orders),
                "PWD": str(place.work),
            }
            child = TrainingProcess(
                self._command,
                environment,
                log,
                self._family,
                self._clock,
                directory=place.work,
                shown=False,
            )
        except OSError as error:
            raise TrainingError(
                f"Could not start {self._command[0]}: {error.strerror or error}. Expected a "
                "command, as in: ckptkit audit -- python "
                f"train.py"
            ) from error
        try:
            start = self._until_it_ends(child, place, moment)
            self._family.sweep(_SWEEP_SECS, self._let_time_pass)
            child.finish()
            child.end_lines()
            if start.code != 0 and (
                start.step is None or (start.said is not None and start.said.outcome == "failed")
            ):
                how = (
                    f"with exit code {start.code}"
                    if start.code >= 0
                    else f"by {signal.Signals(-start.code).name}"
                )
                raise TrainingError(
                    f"The training ended {how} by itself. {_ended_with(child.printed, place)}"
                )
            return start
        finally:
            self._end(child)
            child.close()

    def _give_orders(self, place: Sandbox, every: int, moment: InterruptionMoment | None) -> None:
        place.hold.unlink(missing_ok=True)
        orders = Orders(home=str(place.home), every=every)
        if moment is not None:
            place.hold.touch()
            orders = replace(
                orders,
                hold_step=moment.step,
                hold_run=str(place.path_of(moment.run)),
                hold=str(place.hold),
            )
        write_orders(place.orders, orders)

    def _until_it_ends(
        self, child: TrainingProcess, place: Sandbox, moment: InterruptionMoment | None
    ) -> TrainingStart:
        """Waits, and interrupts it where it waits for that."""
        pulse = StallDetector(
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
                    code=os.waitstatus_to_exitcode(ended), said=child.state, step=held, time=at
                )
            self._inbox.wait(
                _LOOK_SECS if moment is None or held is not None else _HOLD_LOOK_SECS, self._handle
            )
            said = child.state
            self._tell(self._number, said, None)
            if moment is not None and held is None and said is not None and said.phase == HELD:
                held, at, sent_at = said.step, self._clock.now(), time.monotonic()
                child.send(signal.Signals[moment.signal])
                self._tell(self._number, said, moment)
            if held is not None and time.monotonic() - sent_at > _PATIENCE_SECS:
                place.hold.unlink(
                    missing_ok=True
                    # it does not obey this signal; before that, it would make a step more until it
                    # is
                    # heard
                )
            self._watch(pulse, said, began, child, place)

    def _watch(
        self,
        pulse: StallDetector,
        said: ChannelState | None,
        began: float,
        child: TrainingProcess,
        place: Sandbox,
    ) -> None:
        now = time.monotonic()
        stall = pulse.observe(said, now)
        if stall is not None:
            child.dump()
            time.sleep(_LOOK_SECS)  # its stacks are in the output
            raise TrainingError(
                f"The training made no progress for {stall.secs:.0f} s and was ended "
                "(--hang-secs). "
                f"{_ended_with(child.printed, place)}"
            )
        if self._limits.limit_secs and now - began > self._limits.limit_secs:
            raise TrainingError(
                f"The training took longer than {self._limits.limit_secs:g} s and was ended "
                "(--limit-secs). "
                f"{_ended_with(child.printed, place)}"
            )

    def _end(self, child: TrainingProcess) -> None:
        """Nothing of it is left, however it ended."""
        if self._family.living():
            child.send_to_group(signal.SIGKILL)
            child.send(signal.SIGKILL)
            self._family.sweep(0.0, self._let_time_pass)

    def _let_time_pass(self, secs: float) -> None:
        time.sleep(secs)
        reap(0)

    def heed(self) -> None:
        """Ends here where this process was told to end meanwhile, as by Ctrl-C: the inbox takes
        signals, and only tells of them when it is asked.

        Raises:
            KeyboardInterrupt: where it was.
        """
        self._inbox.wait(0.0, self._handle)

    def _handle(self, thing: object) -> None:
        if thing in _INTERRUPTIONS:
            raise KeyboardInterrupt


def _ended_with(printed: Sequence[str], place: Sandbox) -> str:
    """The end of its output, and where the rest is."""
    lines = [line for line in printed if line.strip()][-_SHOWN_LINES:]
    end = (
        "\n".join(["Its standard error ended with:", *(f"  {line}" for line in lines)])
        if lines
        else "It wrote nothing to standard error."
    )
    return f"All that it printed is in {place.log}. {end}"
