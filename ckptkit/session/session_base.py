"""The base class of a session: its parts, and shortcuts to their methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ckptkit.position import RunPosition
from ckptkit.run.journal import Journal
from ckptkit.session.exactness import Exactness
from ckptkit.session.hyperparameter_resolution import HyperparameterConflicts
from ckptkit.session.loop_progress import LoopProgress
from ckptkit.session.options import RunOptions
from ckptkit.session.phase import PhaseMachine
from ckptkit.session.position_and_metrics import RunProgress
from ckptkit.session.resume import Resume
from ckptkit.session.run_opening import OpenedRun
from ckptkit.session.save_coordinator import SaveCoordinator
from ckptkit.session.saver import Saver
from ckptkit.session.stopping import Stopping
from ckptkit.session.tensorboard_consistency import TensorBoardHook
from ckptkit.session.tracked_state import TrackedState

if TYPE_CHECKING:
    from ckptkit.mirror.mirror_session import MirrorSession
    from ckptkit.run.manifest import Manifest
    from ckptkit.session.reserve_snapshot import PartialTurn
    from ckptkit.session.snapshot_writer import Taken
    from ckptkit.session.worker_team import WorkerTeam


class SessionBase:
    """The parts of a session, with shortcuts to their methods for `fit`, loops and the manager.

    Attributes:
        options: the options of the run.
        tracked: the objects that are saved.
        journal: the journal of the attempt.
        phases: the phases of the session and the time spent in each.
        progress: the position of the run.
        exactness: reports why the run cannot resume bit for bit.
        saves: decides when to save, and starts saves.
        resume: finds and restores checkpoints.
        loop: counts the turns of the program's own loops.
        stopping: receives and serves requests to stop.
        team: the other workers of the job; None if this process trains alone.
        mirror: copies the run to an object store, or None.
    """

    options: RunOptions
    tracked: TrackedState
    journal: Journal
    phases: PhaseMachine
    progress: RunProgress
    exactness: Exactness
    saves: SaveCoordinator
    resume: Resume
    loop: LoopProgress
    stopping: Stopping
    mirror: MirrorSession | None
    team: WorkerTeam | None = None

    # -- creation

    def assemble(self, opened: OpenedRun, logs: TensorBoardHook) -> None:
        """Create the parts; none of them starts a thread or opens a file.

        Args:
            opened: the opened run. `tracked` is set already.
            logs: the TensorBoard hook, which adds a point for each save.
        """
        options, target, phases = opened.options, opened.target, opened.phases
        journal = target.journal
        tracked, stopwatch = self.tracked, phases.stopwatch
        self.mirror = opened.mirror
        self.options, self.journal, self.phases = options, journal, phases
        self.progress = RunProgress(phases)
        self.exactness = Exactness(options.exact, journal)
        changes = HyperparameterConflicts(options, tracked.now)
        self.resume = Resume(options, journal, tracked, changes, self.exactness, stopwatch)
        saver = Saver(options, target, tracked.tracker, stopwatch, self._after_commit(logs))
        self.saves = SaveCoordinator(
            options,
            journal,
            saver,
            self.progress,
            self.exactness.inexact,
            changes.recorded,
            opened.fresh_labels,
        )
        self.stopping = Stopping(self, options, journal, saver)
        self.loop = LoopProgress(
            options.state,
            tracked.data,
            self.progress,
            phases,
            journal,
            self.save_if_due,
            self.exactness,
            self.stopping,
            self.saves,
            options.clock.monotonic,
        )

    def _after_commit(self, logs: TensorBoardHook) -> Callable[[Manifest, int, float, float], None]:
        """Return what is called after each commit of a checkpoint."""
        mirror = self.mirror
        if mirror is None:
            return logs.summaries.saved

        def committed(
            manifest: Manifest, new_bytes: int, stall_secs: float, write_secs: float
        ) -> None:
            mirror.notify()
            logs.summaries.saved(manifest, new_bytes, stall_secs, write_secs)

        return committed

    def confirm_on_store(self, timeout_secs: float | None) -> None:
        """Wait until the newest save is committed and on the object store.

        Raises:
            BackgroundSaveError: If the save or its upload failed, or the time is over.
            RunLockedError: If another machine has taken the run on the object store.
        """
        end = None if timeout_secs is None else time.monotonic() + timeout_secs
        self.saves.saver.confirm(timeout_secs)
        if self.mirror is not None:
            self.mirror.wait(None if end is None else max(end - time.monotonic(), 0.0))

    def upload_in_time(self, left_secs: float | None) -> None:
        """Wait for the mirror before the machine goes away; see `MirrorSession.finish_in_time`."""
        if self.mirror is not None:
            self.mirror.finish_in_time(left_secs)

    # -- phase and progress

    @property
    def position(self) -> RunPosition:
        """The position: the finished training, over all attempts."""
        return self.progress.position

    @position.setter
    def position(self, position: RunPosition) -> None:
        self.progress.position = position

    @property
    def done(self) -> bool:
        """Whether training has ended at the current position."""
        return self.progress.done

    @done.setter
    def done(self, done: bool) -> None:
        self.progress.done = done

    @property
    def total(self) -> int | None:
        """The number of steps or epochs of the whole run; None if unknown."""
        return self.progress.total

    @total.setter
    def total(self, total: int | None) -> None:
        self.progress.total = total

    @property
    def beats(self) -> int:
        """A counter that grows with each activity of training."""
        return self.progress.beats

    @beats.setter
    def beats(self, beats: int) -> None:
        self.progress.beats = beats

    def step_done(
        self,
        position: RunPosition,
        metrics: Mapping[str, Any] | None = None,
        *,
        running_averages: bool = False,
    ) -> None:
        """See `RunProgress.step_done`."""
        self.progress.step_done(position, metrics, running_averages=running_averages)

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """See `RunProgress.measured`."""
        self.progress.measured(metrics)

    def inexact(self, reason: str) -> None:
        """See `Exactness.inexact`."""
        self.exactness.inexact(reason)

    # -- saving

    def take(self) -> Taken:
        """See `SaveCoordinator.take`."""
        return self.saves.take()

    def save(self, trigger: str, taken: Taken | None = None) -> None:
        """See `SaveCoordinator.save`."""
        self.saves.save(trigger, taken)

    @property
    def saved_at(self) -> RunPosition:
        """See `SaveCoordinator.saved_at`."""
        return self.saves.saved_at

    def is_saved(self, at: RunPosition) -> bool:
        """See `SaveCoordinator.is_saved`."""
        return self.saves.is_saved(at)

    def partial_turn(self) -> PartialTurn | None:
        """See `LoopProgress.partial_turn`."""
        return self.loop.partial_turn()

    def save_if_due(
        self, leave: Callable[[], None] | None = None, *, ends_epoch: bool = False
    ) -> bool:
        """Save if a save is due, and serve a request to stop.

        Args:
            leave: see `Stopping.serve`.
            ends_epoch: whether an epoch has ended here, at which all workers of a job meet.

        Returns:
            Whether a save was due.

        Raises:
            BackgroundSaveError: If an earlier save failed. After a request to stop, the state is
                saved nevertheless.
            Preempted: After a request to stop, with the state saved.
        """
        # After a request to stop, this is the last chance to save, so an earlier save's error is
        # raised after it.
        if not self.stopping.requested:
            self.saves.saver.check()
        if self.team is None:
            due = self.saves.save_if_due()
        else:
            due = self.team.boundary(meets=ends_epoch)
        self.stopping.serve(leave=leave)
        if self.team is not None:
            self.team.look_ahead()
        return due
