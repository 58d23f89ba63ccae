"""Starts the training once, and determines how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from ckptkit.clock import Clock
from ckptkit.exit_codes import ShellCode
from ckptkit.launcher.early_verification import EarlyVerification
from ckptkit.launcher.exit_cause import ExitCause, exit_cause_of
from ckptkit.launcher.inbox import reap
from ckptkit.launcher.launch_history import LaunchHistory
from ckptkit.launcher.launcher_settings import Settings
from ckptkit.launcher.oom_counter import oom_counter
from ckptkit.launcher.process_tree import ProcessTree
from ckptkit.launcher.run_follower import RunFollower
from ckptkit.launcher.stop_handling import StopHandling
from ckptkit.launcher.training_output import TrainingLog
from ckptkit.launcher.training_process import TrainingProcess
from ckptkit.launcher.training_watch import LOOK_SECS, SWEEP_SECS, TrainingWatch
from ckptkit.log import logger

__all__ = ["LOOK_SECS", "SWEEP_SECS", "TrainingStarter"]


class TrainingStarter:
    """Starts the training any number of times, with the same command and settings.

    Args:
        command: the program and its arguments.
        environment: the environment of the training.
        settings: the limits and the grace period.
        clock: gives requests their times.
        log: receives the training's output.
        tree: all processes of the training.
        history: records the training's start and end.
        follower: opens the runs that the training reports.
        stops: passes signals and notices on to the training.
        adopts: whether the system makes orphans children of this process.
        wait: waits for a number of seconds, and handles signals, notices and results meanwhile.
        is_busy: returns whether storage work for the current start is unfinished.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        settings: Settings,
        clock: Clock,
        log: TrainingLog,
        tree: ProcessTree,
        history: LaunchHistory,
        follower: RunFollower,
        stops: StopHandling,
        *,
        adopts: bool,
        wait: Callable[[float], None],
        is_busy: Callable[[], bool],
    ) -> None:
        self._command, self._environment, self._settings = command, environment, settings
        self._clock, self._log, self._tree = clock, log, tree
        self._history, self._follower, self._stops = history, follower, stops
        self._adopts, self._wait, self._is_busy = adopts, wait, is_busy
        self._oom = oom_counter()
        self._last: TrainingProcess | None = None

    def run(self) -> ExitCause:
        """Start the training, wait until all its processes have ended, and return how it ended."""
        kills_before = self._oom.read()
        try:
            child = self._last = TrainingProcess(
                self._command, self._environment, self._log, self._tree, self._clock
            )
        except OSError as error:
            return self._not_started(error)
        self._stops.child = child
        try:
            return self._supervise(child, kills_before)
        finally:
            self._stops.end_start()
            child.close()

    def _verify_early(self, child: TrainingProcess) -> EarlyVerification | None:
        """Verify the newest checkpoint of the run, if the run is known before the training says."""
        if self._history.layout is None:
            return None
        verification = EarlyVerification(self._history.layout, child.give_verdict)
        verification.start()
        return verification

    def end_lines(self) -> None:
        """Print a line end if the last start ended in the middle of a line."""
        if self._last is not None:
            self._last.end_lines()

    def _not_started(self, error: OSError) -> ExitCause:
        reason = error.strerror or error
        logger.error("could not start %s: %s", self._command[0], reason)
        missing = isinstance(error, FileNotFoundError)
        code = ShellCode.NOT_FOUND if missing else ShellCode.NOT_EXECUTABLE
        return ExitCause(cause="exit", words=f"could not be started: {reason}", code=code)

    def _supervise(self, child: TrainingProcess, kills_before: int) -> ExitCause:
        verification = self._verify_early(child)
        watch = TrainingWatch(
            child,
            self._settings,
            self._stops.reasons,
            self._follower,
            self._history,
            self._tree,
            notes_tree=not self._adopts,
            wait=self._wait,
            opened=verification.stop if verification is not None else lambda: None,
        )
        code = os.waitstatus_to_exitcode(watch.until_ended())
        state = watch.sweep()
        self._follower.follow(state)  # the training may have opened a run just before its end
        while self._is_busy():
            self._wait(LOOK_SECS)
            reap(0)
        child.finish()
        return exit_cause_of(
            pid=child.pid,
            code=code if code >= 0 else None,
            signal_number=-code if code < 0 else None,
            state=state,
            hung_secs=watch.hung_secs,
            oom_kills=self._oom.read() - kills_before,
            printed=child.printed,
            advanced=self._history.has_advanced,
            step=self._history.step,
        )
