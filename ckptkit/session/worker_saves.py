"""Saves of several workers: the first one writes, and the others send it what is their own.

Each save has a number, which is the same on all workers because they save at the same moments. All
of this happens on the writers' threads, so training does not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from ckptkit.errors import BackgroundSaveError, CheckpointError, WorkerLost
from ckptkit.log import logger
from ckptkit.position import RunPosition
from ckptkit.run.manifest import Manifest
from ckptkit.session.snapshot_writer import Taken
from ckptkit.tracking.data_anchor import AnchorUse
from ckptkit.tracking.snapshot import Snapshot
from ckptkit.tracking.worker_part import (
    decode_part,
    encode_part,
    joined,
    part_of,
    saved_key,
    shared_digests,
)
from ckptkit.workers.cluster import Cluster, WorkersLateError
from ckptkit.writing.checkpoint_writer import Job

PART_SECS = 300.0
"""Seconds within which the part of each worker arrives at the one that writes."""

COMMIT_SECS = 3600.0
"""Seconds within which the first worker writes a save. The others wait only if they must."""


@dataclass(frozen=True)
class SaveResult:
    """How the first worker's part of a save has ended.

    Args:
        outcome: `saved`; `skipped` if there was no space and training continues; `lost` if a
            worker was lost meanwhile; `failed` otherwise.
        message: the reason.
    """

    outcome: str
    message: str = ""


def result_of(error: BaseException | None, *, continues: bool) -> SaveResult:
    """Return how a save has ended. Pure.

    Args:
        error: what has ended it, or None.
        continues: whether training continues without this save.
    """
    if error is None:
        return SaveResult("saved")
    if continues:
        return SaveResult("skipped", str(error))
    if isinstance(error, WorkerLost):
        return SaveResult("lost", str(error))
    return SaveResult("failed", f"{type(error).__name__}: {error}")


class PartCollector:
    """Gathers the parts of the other workers into the saves of the first one.

    Args:
        cluster: the workers.
        inexact: called with a reason why the run cannot continue bit for bit.
    """

    def __init__(self, cluster: Cluster, inexact: Callable[[str], None]) -> None:
        self._cluster, self._inexact = cluster, inexact
        self._saves = 0
        self._differing: set[str] = set()

    def expect(self, at: RunPosition) -> ExpectedParts:
        """Return the parts of the next save; call it once for each save, in order."""
        self._saves += 1
        return ExpectedParts(self._cluster, self._saves, _moment(at), self._differ)

    def _differ(self, rank: int, paths: list[str]) -> None:
        """Report variables of which another worker has other bits than the first one, once."""
        if new := [path for path in paths if path not in self._differing]:
            self._differing.update(new)
            self._inexact(
                f"worker {rank} has other values than worker 0 in {len(new)} variables that are "
                f"the same on all workers, such as {new[0]}. Checkpoints have those of worker 0, "
                "which all workers get in a resume. Change such variables in the same way on all"
            )


class ExpectedParts:
    """The parts of one save.

    Args:
        cluster: the workers.
        number: the number of the save.
        at: its position, which each part must have.
        differ: called with a worker and the variables of which it has other bits.
    """

    def __init__(
        self, cluster: Cluster, number: int, at: str, differ: Callable[[int, list[str]], None]
    ) -> None:
        self._cluster, self._number, self._at = cluster, number, at
        self._differ = differ

    def complete(self, taken: Taken) -> Taken:
        """Return a snapshot that contains the parts of all workers.

        Raises:
            CheckpointError: If a part is of another position.
            ConfigError: If it has other values where all must have the same, and exactness is
                required.
            WorkerLost: If a worker has ended, or sends its part too late.
        """
        shared = shared_digests(taken.snapshot)
        parts = {}
        for rank in range(1, self._cluster.size):
            key = f"part/{self._number}/{rank}"
            part = parts[rank] = decode_part(_got(self._cluster, key, PART_SECS))
            self._cluster.delete(key)
            if part.at != self._at:
                raise CheckpointError(
                    f"Worker {rank} has sent its part of a save at {part.at}, and worker 0 saves "
                    f"at {self._at}. Nothing was saved. Let all workers run the same loop."
                )
            if other := [key for key in shared if part.shared.get(key) != shared[key]]:
                self._differ(rank, [taken.snapshot.tensors[key][0].path or key for key in other])
        # A worker that sends this part has read the result of the save before.
        self._cluster.delete(f"saved/{self._number - 1}")
        uses = [
            AnchorUse(None, saved_key(each.key, rank), each.since, each.order)
            for rank, part in parts.items()
            for each in part.anchors
        ]
        snapshot = replace(
            taken.snapshot,
            others=joined(parts),
            anchors=(*taken.snapshot.anchors, *uses),
        )
        return replace(taken, snapshot=snapshot)

    def report(self, error: BaseException | None, *, continues: bool = False) -> None:
        """Tell the other workers how the save ended.

        Args:
            error: what has ended it, or None.
            continues: whether training continues without this save, because of a lack of space.
        """
        told = result_of(error, continues=continues)
        # An error here must not replace the one of the save, and the others may be gone.
        with suppress(WorkerLost):
            self._cluster.put(f"saved/{self._number}", msgspec.json.encode(told))


class PartSender:
    """Sends the part of a worker that does not write; the counterpart of `SnapshotWriter`.

    Attributes:
        unsaved, unwritten, failed_saves: as of `SnapshotWriter`.
        writing_since, write_secs, is_shared: as of `SnapshotWriter`.

    Args:
        cluster: the workers.
        on_saved: as for `SnapshotWriter`.
    """

    def __init__(
        self, cluster: Cluster, on_saved: Callable[[Manifest, int, float, float], None]
    ) -> None:
        self._cluster, self._on_saved = cluster, on_saved
        self._saves = 0
        self._no_space = ""
        self.unsaved: RunPosition | None = None
        self.unwritten: Taken | None = None
        self.failed_saves = 0
        self.writing_since: float | None = None
        self.write_secs: float | None = None
        self.is_shared = True

    def write_secs_for(self, taken: Snapshot) -> float | None:
        """Return the seconds that the last part took; the first worker writes the checkpoint."""
        return self.write_secs

    def job(self, taken: Taken, manifest: Manifest, *, must: bool, periodic: bool) -> Job:
        """Return the job that sends the part, and waits until the first worker has saved it."""
        self._saves += 1
        number = self._saves
        return Job(
            step=manifest.step,
            run=lambda: self._send(taken, manifest, number),
            must=True,  # the first worker waits for each part
            drop=lambda reason: None,
        )

    def _send(self, taken: Taken, manifest: Manifest, number: int) -> None:
        self.writing_since = time.monotonic()
        try:
            part = part_of(taken.snapshot, _moment(taken.position))
            self._cluster.put(f"part/{number}/{self._cluster.rank}", encode_part(part))
            told = _got(self._cluster, f"saved/{number}", COMMIT_SECS)
            result = msgspec.json.decode(told, type=SaveResult)
            if result.outcome == "lost":
                raise WorkerLost(result.message)
            if result.outcome == "failed":
                raise BackgroundSaveError(f"Worker 0 could not save: {result.message}")
        except BaseException:
            self.unsaved = taken.position
            raise
        finally:
            self.writing_since = None
        self._no_space = result.message
        if result.outcome == "skipped":
            self.unsaved = taken.position
            logger.warning(
                "worker 0 has NOT SAVED at %s, and training continues: %s",
                taken.position,
                result.message,
            )
            return
        self.unsaved = None
        self._on_saved(manifest, 0, taken.secs, 0.0)

    def check_space(self) -> None:
        """Check that worker 0 had space for the newest save.

        Raises:
            BackgroundSaveError: If it had not.
        """
        if self._no_space:
            raise BackgroundSaveError(
                f"Worker 0 has not written the newest save, at {self.unsaved}. Earlier checkpoints "
                f"are untouched. The reason: {self._no_space}"
            )

    def withdraw(self) -> None:
        """Do nothing: the first worker decides what is committed."""


def _got(cluster: Cluster, key: str, timeout_secs: float) -> bytes:
    """Wait for a value of a save.

    Raises:
        WorkerLost: If another worker has ended, or does not send it in time: all start again then.
    """
    try:
        return cluster.get(key, timeout_secs)
    except WorkersLateError as late:
        raise WorkerLost(str(late)) from late


def _moment(at: RunPosition) -> str:
    return f"{at} (step {at.step}, epoch {at.epoch}, batch {at.batch})"
