"""Watches one training process until it ends, and ends it at a deadline or if it hangs."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from ckptkit.launcher.escalation import escalation
from ckptkit.launcher.inbox import reap
from ckptkit.launcher.launch_history import LaunchHistory
from ckptkit.launcher.launcher_settings import Settings
from ckptkit.launcher.process_tree import ProcessTree
from ckptkit.launcher.run_follower import RunFollower
from ckptkit.launcher.stall_detector import StallDetector
from ckptkit.launcher.stop_reasons import StopReasons
from ckptkit.launcher.training_process import TrainingProcess
from ckptkit.log import logger
from ckptkit.run.events import Stalled, Swept
from ckptkit.run.launcher_channel import ChannelState

LOOK_SECS = 0.25
SWEEP_SECS = 5.0


class TrainingWatch:
    """Supervises one start of the training.

    Args:
        child: the process.
        settings: the limits and the grace period.
        reasons: the deadlines by which the training has to end.
        follower: opens the run that the training reports.
        history: records stalls and leftover processes.
        tree: all processes of the training.
        notes_tree: whether to call `tree.note` now and then, because the system does not adopt
            orphans.
        wait: waits for a number of seconds, and handles signals, notices and results meanwhile.
        opened: called when the training has opened a run, or has ended.

    Attributes:
        hung_secs: the seconds without progress after which the training was ended; None if it was
            not.
    """

    def __init__(
        self,
        child: TrainingProcess,
        settings: Settings,
        reasons: StopReasons,
        follower: RunFollower,
        history: LaunchHistory,
        tree: ProcessTree,
        *,
        notes_tree: bool,
        wait: Callable[[float], None],
        opened: Callable[[], None],
    ) -> None:
        self._opened = opened
        self._child, self._settings, self._reasons = child, settings, reasons
        self._follower, self._history, self._tree = follower, history, tree
        self._notes_tree, self._wait = notes_tree, wait
        self.hung_secs: float | None = None

    def until_ended(self) -> int:
        """Wait until the process and the training have ended; return the status of the process.

        A training that a shell started may outlive the shell, for example to save after a signal to
        both.
        """
        try:
            return self._until_ended()
        finally:
            self._opened()

    def _until_ended(self) -> int:
        child, detector = self._child, StallDetector(self._settings, time.monotonic())
        noted_at, status = 0.0, None
        while True:
            if (ended := reap(child.pid)) is not None:
                status = ended
                child.mark_reaped(ended)
            if status is not None and (not child.is_training or self._is_stuck()):
                return status
            self._wait(self._secs_to_next())
            if self._notes_tree and time.monotonic() - noted_at > SWEEP_SECS:
                noted_at = time.monotonic()
                self._tree.note()
            state = child.state
            if not self._follower.has_run:
                # After its first report the training checks for requests itself. This check at the
                # first report finds an earlier request, which the training does not know about.
                self._follower.look_for_stop(at_once=state is not None and bool(state.run))
            self._follower.follow(state)
            if self._follower.has_run:
                self._opened()
            self._check_progress(detector, state)
            self._escalate()

    def _check_progress(self, detector: StallDetector, state: ChannelState | None) -> None:
        if self._reasons.escalation is not None:
            return  # the training is ending, and its save may take long
        stall = detector.observe(state, time.monotonic())
        if stall is not None:
            self._handle_stall(state, stall.secs, end=stall.action == "end")

    def _is_stuck(self) -> bool:
        """Whether a killed training still exists because it waits in the kernel, as for NFS."""
        present = self._reasons.escalation
        return (
            present is not None
            and present.stage == "killed"
            and time.monotonic() > present.kill_at + SWEEP_SECS
        )

    def _secs_to_next(self) -> float:
        present = self._reasons.escalation
        next_at = present.next_at() if present is not None else None
        return LOOK_SECS if next_at is None else min(LOOK_SECS, next_at - time.monotonic())

    def _escalate(self) -> None:
        present, child = self._reasons.escalation, self._child
        if present is None or (due := present.due(time.monotonic())) is None:
            return
        self._reasons.stage = due
        if due == "group":
            logger.warning(
                "the training has not ended: sending SIGTERM to all processes of its group"
            )
            child.send_to_group(signal.SIGTERM)
        else:
            logger.warning("the training has not ended: killing it")
            child.send_to_group(signal.SIGKILL)
            if child.state is not None and child.is_training:
                child.send(signal.SIGKILL)

    def _handle_stall(self, state: ChannelState | None, secs: float, *, end: bool) -> None:
        phase, step = (state.phase, state.step) if state is not None else ("starting", 0)
        logger.warning(
            "no progress for %.0f s, while %s at step %d%s",
            secs,
            phase,
            step,
            ": ending the training" if end else "",
        )
        dumped = self._child.dump()
        if end:
            self.hung_secs = secs
            if dumped:
                time.sleep(
                    LOOK_SECS
                )  # wait until its stacks are written, before it is asked to end
            self._reasons.note_hang(escalation(time.monotonic(), self._settings.grace_secs))
            self._child.ask("no progress", self._settings.grace_secs)
            self._child.send(signal.SIGTERM)
        self._history.record(Stalled(secs=secs, phase=phase, step=step, ended=end))

    def _wait_and_reap(self, secs: float) -> None:
        self._wait(secs)
        reap(0)  # not earlier, because that would also collect the status of the training itself

    def sweep(self) -> ChannelState | None:
        """End all leftover processes of the training, so that none runs during the next start.

        Returns:
            The training's last report.
        """
        state, present = self._child.state, self._reasons.escalation
        left = present.kill_at - time.monotonic() if present is not None else SWEEP_SECS
        ended = self._tree.sweep(
            min(SWEEP_SECS, self._settings.grace_secs, left), self._wait_and_reap
        )
        if ended:
            logger.info("ended processes that the training had left behind: %s", ", ".join(ended))
            self._history.record(Swept(processes=ended))
        return self._child.state or state
