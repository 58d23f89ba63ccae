"""Saves of several workers: the first one writes, and the others send it what is their own.

Each save has a number, which is the same on all workers because they save at the same moments. All
of this happens on the writers' threads, so training does not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ckptkit.errors import BackgroundSaveError, CheckpointError
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
from ckptkit.workers.cluster import Cluster
from ckptkit.writing.checkpoint_writer import Job

PART_SECS = 300.0
"""Seconds within which the part of each worker arrives at the one that writes."""

COMMIT_SECS = 3600.0
"""Seconds within which the first worker writes a save. The others wait only if they must."""

_DONE = b""


class PartCollector:
    """Gathers the parts of the other workers into the saves of the first one.

    Args:
        cluster: the workers.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._saves = 0

    def expect(self, at: RunPosition) -> ExpectedParts:
        """Return the parts of the next save; call it once for each save, in order."""
        self._saves += 1
        return ExpectedParts(self._cluster, self._saves, _moment(at))


class ExpectedParts:
    """The parts of one save.

    Args:
        cluster: the workers.
        number: the number of the save.
        at: its position, which each part must have.
    """

    def __init__(self, cluster: Cluster, number: int, at: str) -> None:
        self._cluster, self._number, self._at = cluster, number, at

    def complete(self, taken: Taken) -> Taken:
        """Return a snapshot that contains the parts of all workers.

        Raises:
            CheckpointError: If a part does not arrive, is of another position, or has other values
                where all must have the same.
            WorkerLost: If a worker has ended.
        """
        shared = shared_digests(taken.snapshot)
        parts = {}
        for rank in range(1, self._cluster.size):
            key = f"part/{self._number}/{rank}"
            part = parts[rank] = decode_part(self._cluster.get(key, PART_SECS))
            self._cluster.delete(key)
            if part.at != self._at:
                raise CheckpointError(
                    f"Worker {rank} has sent its part of a save at {part.at}, and worker 0 saves "
                    f"at {self._at}. Nothing was saved. Let all workers run the same loop."
                )
            if other := [key for key in shared if part.shared.get(key) != shared[key]]:
                raise CheckpointError(
                    f"Worker {rank} has other values than worker 0 in {len(other)} of "
                    f"{len(shared)} variables that are the same on all workers, such as "
                    f"{other[0]}. Nothing was saved. Change such variables in the same way on "
                    "all workers."
                )
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

    def report(self, error: BaseException | None) -> None:
        """Tell the other workers how the save ended."""
        told = _DONE if error is None else f"{type(error).__name__}: {error}".encode()
        self._cluster.put(f"saved/{self._number}", told)


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
            told = self._cluster.get(f"saved/{number}", COMMIT_SECS)
            if told != _DONE:
                raise BackgroundSaveError(f"Worker 0 could not save: {told.decode()}")
        except BaseException:
            self.unsaved = taken.position
            raise
        finally:
            self.writing_since = None
        self.unsaved = None
        self._on_saved(manifest, 0, taken.secs, 0.0)

    def check_space(self) -> None:
        """Do nothing: a lack of space is an error of the first worker."""

    def withdraw(self) -> None:
        """Do nothing: the first worker decides what is committed."""


def _moment(at: RunPosition) -> str:
    return f"{at} (step {at.step}, epoch {at.epoch}, batch {at.batch})"
