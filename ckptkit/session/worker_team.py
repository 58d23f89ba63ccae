"""The workers of one job: how a session saves, stops and resumes together with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ckptkit.errors import CheckpointError, Preempted, WorkerLost
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import Manifest
from ckptkit.session.saver import Saver
from ckptkit.session.snapshot_writer import SnapshotWriter
from ckptkit.session.worker_resume import WorkerResume
from ckptkit.session.worker_saves import PartCollector, PartSender
from ckptkit.workers.agreement import SAVE, STOP, Agreement, Plan
from ckptkit.workers.cluster import Cluster

if TYPE_CHECKING:
    from ckptkit.session.session_base import SessionBase

LEAVE_SECS = 3600.0
"""Seconds that the first worker waits at its end: the store of the job ends with its process.

The others may evaluate or export after training. A worker that ends meanwhile ends this wait.
"""


class WorkerTeam:
    """The part of one session in its job; there is none if a process trains alone.

    Args:
        cluster: the workers.
        session: the session of this worker.
    """

    def __init__(self, cluster: Cluster, session: SessionBase) -> None:
        self._cluster, self._session = cluster, session
        self._agreement = Agreement(cluster)
        # Such a policy decides by the metrics of this very moment, so all wait for its answer.
        self._always_meets = bool(session.options.save.monitors)

    @property
    def _is_first(self) -> bool:
        return self._cluster.rank == 0

    def start(self, saver: Saver) -> None:
        """Take part: requests to stop are passed on, and saves have the parts of all workers.

        Raises:
            ThreadRefusedError: If the system allows no further thread.
        """
        session = self._session
        session.stopping.hold(self._agreement.ask_to_stop)
        session.loop.keep_no_reserve()
        session.tracked.tracker.in_job = True
        if self._is_first and isinstance(writer := saver.snapshots, SnapshotWriter):
            writer.collector = PartCollector(self._cluster, session.inexact)
        else:
            saver.snapshots = PartSender(self._cluster, self._note_saved)
        self._agreement.start()

    def _note_saved(
        self, manifest: Manifest, new_bytes: int, stall_secs: float, write_secs: float
    ) -> None:
        """Note a save of the first worker, which this worker's launcher cannot see itself."""
        self._session.progress.saved_by_job = manifest.step

    def give_up(self, error: WorkerLost) -> None:
        """End all waits for the others, also those of the writer, because one was lost."""
        self._cluster.end(str(error))

    def close(self, error: BaseException | None) -> None:
        """Leave the job: the first worker leaves last.

        Args:
            error: what ended training here, or None.
        """
        try:
            stopped = isinstance(error, Preempted | KeyboardInterrupt)
            if error is None or (stopped and self._session.stopping.preempted):
                self._cluster.put(f"left/{self._cluster.rank}", b"")
                if self._is_first:
                    self._cluster.barrier("left", LEAVE_SECS)
            else:
                self._cluster.end(f"{type(error).__name__}: {error}")
        # Everything is saved: that another worker has already gone is no error any more.
        except (CheckpointError, SystemExit) as late:
            logger.debug("a worker has left before: %s", late)
        finally:
            self.stop_listening()

    def stop_listening(self) -> None:
        """Stop the thread that hears the others."""
        self._agreement.close()

    # -- moments of training

    def restore_newest(self) -> Checkpoint | None:
        """Restore the newest good checkpoint on all workers; see `WorkerResume`."""
        session = self._session
        checkpoint = WorkerResume(self._cluster, session).restore()
        at = "a new run" if checkpoint is None else str(checkpoint.name)
        self.meet(f"the start from {at}")
        return checkpoint

    def look_ahead(self) -> None:
        """On the first worker, plan what is due at the next boundary, so that all do it there.

        Raises:
            WorkersLateError, WorkerLost: See `Agreement.announce`.
        """
        agreement, saves = self._agreement, self._session.saves
        if not self._is_first or agreement.is_planned:
            return
        if agreement.wanted:
            wanted, agreement.wanted = agreement.wanted, None
            agreement.announce(wanted)
        elif not self._always_meets and (reason := saves.due_ahead()) is not None:
            agreement.announce(Plan(SAVE, reason))

    def boundary(self, *, meets: bool) -> bool:
        """Save if that is due for all workers at this boundary between two turns.

        Args:
            meets: whether all workers wait here for the decision of the first one.

        Returns:
            Whether a save was due.
        """
        self._agreement.pass_boundary()
        if plan := self._agreement.plan_here():
            if plan.action == STOP:
                self._session.stopping.release(plan.reason, for_good=plan.for_good)
                return self._session.saves.save_if_due(lambda reason: None)
            return self._session.saves.save_if_due(lambda reason: plan.reason)
        if meets or self._always_meets:
            return self._session.saves.save_if_due(self._decided_by_first)
        return self._session.saves.save_if_due(lambda reason: None)

    def begin_loop(self, what: str) -> None:
        """Meet at the beginning of a loop; from now on, the silence of a worker is its loss."""
        self.meet(what)
        self._cluster.watch(True)

    def end_loop(self) -> None:
        """Note that training is over, and saved: each worker may do something else now."""
        self._cluster.watch(False)

    def _decided_by_first(self, reason: str | None) -> str | None:
        told = self.meet("a save that may be due", msgspec.json.encode(reason))
        decided: str | None = msgspec.json.decode(told, type=str | None)
        return decided

    def meet(self, what: str, decision: bytes = b"") -> bytes:
        """Wait for all workers at a moment that all know; see `Agreement.meet`.

        What was planned for a boundary that does not come any more is done here.
        """
        meeting = self._agreement.meet(f"{what}, {self._session.position}", decision)
        for plan in meeting.plans:
            if plan.action == STOP:
                self._session.stopping.release(plan.reason, for_good=plan.for_good)
        return meeting.decision

    def agree(self, what: str, decide: Callable[[], bool]) -> bool:
        """Return what the first worker decides at a moment that all know.

        Args:
            what: the moment.
            decide: called on the first worker.
        """
        decision = msgspec.json.encode(decide()) if self._is_first else b""
        return bool(msgspec.json.decode(self.meet(what, decision)))
