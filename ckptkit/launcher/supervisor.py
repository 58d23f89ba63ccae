"""The main loop of `ckptkit run`: starts a training, supervises it and restarts it.

This file has the effects only; pure functions in other files decide what to do.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ckptkit.clock import Clock, SystemClock
from ckptkit.launcher.exit_cause import Cause, ExitCause
from ckptkit.launcher.inbox import Inbox, reap
from ckptkit.launcher.launch_history import LaunchHistory
from ckptkit.launcher.launcher_settings import Settings
from ckptkit.launcher.process_tree import ProcessTree, adopt_orphans
from ckptkit.launcher.restart_decision import EarlierEnd, RestartDecision, decide
from ckptkit.launcher.run_follower import REQUEST_SECS, RunFollower
from ckptkit.launcher.slurm import put_back
from ckptkit.launcher.stop_handling import StopHandling
from ckptkit.launcher.storage_worker import StorageResult, StorageWorker
from ckptkit.launcher.training_output import TrainingLog
from ckptkit.launcher.training_starter import LOOK_SECS, SWEEP_SECS, TrainingStarter
from ckptkit.log import logger
from ckptkit.run.events import LaunchDecided, LaunchEnded

Watch = Callable[[Callable[[Any], None], threading.Event], threading.Thread | None]
"""The type of a function that watches for notices and reports each one until the event is set."""


class Supervisor:
    """Supervises one training.

    It receives the signals, the orphans and the ended children of its process. So it needs a
    process of its own.

    Args:
        command: the program and its arguments.
        settings: budgets and limits.
        environment: the environment of the training; by default that of this process.
        watch: starts to watch for notices; None for no notices.
        clock: gives events their times.
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
        self._history = LaunchHistory(self._clock)
        self._log = TrainingLog(settings.log_bytes, settings.log_files)
        # Made here, so that processes which a batch script started before `exec ckptkit run` are
        # left alone.
        self._tree = ProcessTree()
        self._stops = StopHandling(settings, self._history)
        self._inbox: Inbox
        self._worker: StorageWorker
        self._follower: RunFollower
        self._number = 0

    def run(self) -> int:
        """Start the training, and restart it until the decision is to end.

        Returns:
            The exit code.

        Raises:
            ConfigError: If the named run directory is not a path.
            StorageError: If the named run directory cannot be used.
        """
        stop = threading.Event()
        adopts = adopt_orphans()
        with Inbox() as self._inbox:
            self._worker = StorageWorker(self._inbox.put)
            self._follower = RunFollower(self._history, self._log, self._worker, self._stops)
            starter = self._starter(adopts)
            if self._settings.run:
                self._follower.open_named(self._settings.run)
            watcher = self._watch(self._inbox.put, stop) if self._watch is not None else None
            try:
                decision = self._decision_for_lost_start() or RestartDecision(True, "")
                while decision.restart:
                    may_start = self._wait_before_start(decision)
                    decision = self._run_once(starter) if may_start else self._end_between_starts()
            finally:
                stop.set()
                self._log.close(SWEEP_SECS)
                self._history.close()
            if watcher is not None:
                watcher.join(LOOK_SECS)
            if decision.elsewhere:
                # Done while the inbox handles signals: Slurm answers with SIGTERM, which would end
                # this process.
                put_back(self._environment)
        return decision.exit_code

    def _starter(self, adopts: bool) -> TrainingStarter:
        return TrainingStarter(
            self._command,
            self._environment,
            self._settings,
            self._clock,
            self._log,
            self._tree,
            self._history,
            self._follower,
            self._stops,
            adopts=adopts,
            wait=partial(self._inbox.wait, handle=self._handle),
            is_busy=lambda: self._worker.busy,
        )

    # -- from one start to the next

    def _decision_for_lost_start(self) -> RestartDecision | None:
        """Decide about a start that was lost with its launcher, as if it had just ended."""
        earlier = self._history.earlier_ends()
        inferred = self._history.recover_lost_starts(here_only=True)
        if inferred is None or inferred[0].cause not in ("memory", "killed"):
            return None
        lost, advanced = inferred
        cause: Cause = "memory" if lost.cause == "memory" else "killed"
        ending = ExitCause(
            cause=cause,
            words=lost.words,
            heard=True,
            trained=True,
            advanced=advanced,
            step=lost.step,
        )
        return self._decide(ending, earlier)

    def _wait_before_start(self, decision: RestartDecision) -> bool:
        """Wait for a random time; return False if the launcher has to end meanwhile."""
        # Random, so that many trainings that lost the same disk do not return to it at once.
        until = time.monotonic() + random.uniform(0.0, decision.most_wait_secs)
        while not self._stops.pending:
            left = until - time.monotonic()
            if left <= 0:
                break
            self._wait(min(left, REQUEST_SECS))
            self._follower.look_for_stop()
        else:
            return False
        self._wait(0.0)
        # Check once more and wait for the result, or the next start would miss a very recent
        # request.
        self._follower.look_for_stop(at_once=True)
        while self._worker.busy and not self._stops.pending:
            self._wait(LOOK_SECS)
        return not self._stops.pending

    def _end_between_starts(self) -> RestartDecision:
        decision = self._stops.decision_between_starts()
        self._report(decision)
        return decision

    def _run_once(self, starter: TrainingStarter) -> RestartDecision:
        """Start the training once, wait for its end, and decide what to do next."""
        self._number += 1
        program = Path(self._command[0]).name.encode(errors="backslashreplace").decode()
        self._history.record_start(self._number, program)
        # Durable before the start: if this machine is lost, the next launcher has to know about it.
        while not self._history.is_written(LOOK_SECS):
            self._wait(0.0)
            if self._stops.pending:
                return self._end_between_starts()
        self._stops.begin_start()
        self._follower.begin_start()
        return self._record_and_decide(starter)

    def _record_and_decide(self, starter: TrainingStarter) -> RestartDecision:
        ending = starter.run()
        earlier = self._history.earlier_ends()
        ending = replace(ending, asked=ending.asked or bool(self._stops.stop_source))
        event = LaunchEnded(
            launcher=self._history.id,
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
        )
        self._history.record_end(event, advanced=ending.advanced)
        decision = self._decide(ending, earlier)
        if decision.restart:
            starter.end_lines()
        return decision

    def _decide(self, ending: ExitCause, earlier: Sequence[EarlierEnd]) -> RestartDecision:
        decision = decide(ending, earlier, self._stops.context(), self._settings, self._clock.now())
        self._report(decision)
        return decision

    def _report(self, decision: RestartDecision) -> None:
        self._history.record(
            LaunchDecided(
                action="restart" if decision.restart else "stop",
                exit_code=decision.exit_code,
                wait_secs=decision.most_wait_secs,
                reason=decision.reason,
            )
        )
        if decision.restart:
            secs = decision.most_wait_secs
            wait = f" within {secs:.0f} s" if secs >= 1 else ""
            logger.warning("starting again%s: %s", wait, decision.reason)
        else:
            logger.info(
                "the launcher ends with exit code %d: %s", decision.exit_code, decision.reason
            )

    # -- what arrives meanwhile

    def _wait(self, secs: float) -> None:
        self._inbox.wait(secs, self._handle)
        reap(0)  # collect the adopted orphans of the last start

    def _handle(self, message: object) -> None:
        if not isinstance(message, StorageResult):
            self._stops.take(message)
            return
        try:
            message.deliver()
        except Exception as error:
            # No storage error may leave the training without supervision.
            logger.warning("the run's storage failed; the training is still supervised: %r", error)
