"""The session: one process that has a run open for training, from start to close."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from ckptkit.position import RunPosition
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.session.audit_breakpoint import audit_pause
from ckptkit.session.closing import close_session
from ckptkit.session.options import RunOptions
from ckptkit.session.random_op_replacement import replace_draws
from ckptkit.session.remote_control import RemoteControl
from ckptkit.session.run_completion import record_finished
from ckptkit.session.run_opening import open_run
from ckptkit.session.session_base import SessionBase
from ckptkit.session.snapshot_writer import Taken
from ckptkit.session.tensorboard_consistency import TensorBoardHook
from ckptkit.session.tracked_state import TrackedState
from ckptkit.session.worker_team import WorkerTeam
from ckptkit.workers.cluster import Alone, Cluster


class Session(SessionBase):
    """A run that is open for training in this process, from `start` to `close`.

    `start` is a transaction. If any step fails, the lock, the signal handlers and the threads are
    released, and the process is as before.

    Args:
        options: the options of the run.
        cluster: the processes that train together; by default this process alone.
    """

    def __init__(self, options: RunOptions, cluster: Cluster | None = None) -> None:
        self.tracked = TrackedState(
            options.state, self.inexact, options.anchors, options.check_objects
        )
        self.options = replace(options, state=self.tracked.state)
        self.cluster = cluster or Alone()
        self._resources = ExitStack()

    # -- opening

    def start(self, at_end: Callable[[], object] = lambda: None) -> Session:
        """Open the run.

        Args:
            at_end: called after the session was closed, or if it cannot be opened.

        Returns:
            This session.

        Raises:
            ConfigError: If a file has the name of the directory, another program wrote the
                checkpoints, or a policy compares a metric of unknown direction.
            RunLockedError: If another process trains this run.
            StorageError: If the disk refuses.
            ThreadRefusedError: If the system allows no further thread.
        """
        with ExitStack() as resources:
            resources.callback(at_end)
            opened = open_run(self.options, resources)
            logs = self._logs = TensorBoardHook(opened.options, opened.target.journal)
            resources.callback(logs.close)
            self.assemble(opened, logs)
            replace_draws(self.options, resources)
            self._join_workers(resources)
            self._remote = RemoteControl(
                self,
                opened.options,
                opened.target.journal,
                self.stopping,
                self.saves.requests,
                has_run=self.cluster.rank == 0,
            )
            # Each part is pushed before it starts, so that a part that fails while starting is
            # undone too. Signal handlers come last, so they are removed first when the run is
            # closed.
            resources.callback(self.loop.stop_watching)
            resources.callback(self._remote.close)
            self._remote.start()
            resources.callback(self.stopping.close)
            self.stopping.start()
            resources.callback(self.resume.changes.close)
            self.progress.after_step = audit_pause(
                self.phases, self.options.layout, self.stopping, lambda: self.saves.saver.is_writing
            )
            self._resources = resources.pop_all()
        return self

    def _join_workers(self, resources: ExitStack) -> None:
        if self.cluster.size > 1:
            self.team = WorkerTeam(self.cluster, self)
            self.resume.workers = self.cluster.size if self.cluster.rank == 0 else 1
            resources.callback(self.team.stop_listening)
            self.team.start(self.saves.saver)

    # -- resuming

    def restore_newest(self) -> RunPosition:
        """Restore the newest good checkpoint, and continue from it; see `Resume.restore_newest`.

        A new run that has begun with loaded values keeps what it has trained since.
        """
        if self.team is None:
            newest = self.resume.restore_newest()
            if newest is None and self.resume.has_loaded:
                return self.position
            position = self.start_from(newest)
            self.saves.saver.prepare()
            return position
        position = self.start_from(self.team.restore_newest())
        self.team.look_ahead()
        return position

    def restore(self, checkpoint: Checkpoint) -> RunPosition:
        """Restore one checkpoint, and continue from it; see `Resume.restore`."""
        self.resume.restore(checkpoint)
        return self.start_from(checkpoint)

    def start_from(self, checkpoint: Checkpoint | None) -> RunPosition:
        """Set the position and the last save from which this session continues.

        Args:
            checkpoint: the checkpoint from which the run continues, or None for a new run.
        """
        position = self.resume.start_position(checkpoint)
        self.progress.start_from(position)
        self.saves.start_from(checkpoint)
        self._logs.start_from(checkpoint)
        return position

    # -- at safe points and at the end of training

    def safe_point(self) -> None:
        """If a stop was requested, count the turn as done, save the state and leave the loop.

        Raises:
            Preempted: After a request to stop, with the state saved.
        """
        self.progress.beats += 1
        if self.team is not None:
            # The others may not come here, so all of them stop at the end of a turn only.
            self.team.look_ahead()
            return
        if self.stopping.requested:
            self.loop.count_all()
        self.stopping.serve()

    def finish(self, taken: Taken | None = None) -> None:
        """Save the state at the end of training; see `SaveCoordinator.save_final`.

        Raises:
            BackgroundSaveError: If this save or an earlier one failed. If only an earlier save
                failed, the final state is saved nevertheless.
        """
        if self.team is None:
            self.saves.save_final(taken)
        else:
            self.saves.save_final(taken, partial(self.team.agree, "the end of training"))
        self.saves.saver.wait()
        if self.team is not None:
            self.team.end_loop()
        self.note_finished()

    def note_finished(self) -> None:
        """Note that training ends at the current position, and record that in the journal."""
        self.progress.done = True
        early = str(self.progress.early_stop.get("callback", ""))
        record_finished(self.options.layout, self.journal, self.position, early)

    # -- closing

    def close(self, error: BaseException | None = None) -> None:
        """Close the run.

        It saves the progress of a loop that `break` has left, and serves a pending request to stop.
        It saves nothing if an error ended training.

        Args:
            error: what ended training, or None.

        Raises:
            Preempted: After a request to stop, with the state saved; see `Stopping.serve`.
            StorageError: If the disk refuses; earlier checkpoints are untouched.
        """
        # The end and its cause are always recorded. To serve a request to stop raises `Preempted`,
        # which is a cause too.
        ended_by = error
        try:
            if error is None:
                self.stopping.serve()
        except BaseException as caught:
            ended_by = caught
            raise
        finally:
            close_session(self, self._remote, self._resources.pop_all(), ended_by)
        # A signal may arrive between the last save and the removal of the handlers.
        if error is None:
            self.stopping.answer_late()
