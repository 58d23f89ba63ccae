"""Restores a checkpoint on all workers: the first one reads it, and the others receive it.

Another worker gets the checkpoint in a directory of its own, as if it had saved it there. It
restores that as a process that trains alone does, with the same comparisons.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import tensorflow as tf

from ckptkit.bundle import tensor_bundle
from ckptkit.errors import ConfigError
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.data_anchor_entry import AnchorEntry
from ckptkit.run.launcher_channel import Failure
from ckptkit.run.manifest import WORKER, Manifest, format_version
from ckptkit.run.tensor_entry import TensorEntry, leaf_key
from ckptkit.session.launcher_failure_report import error_of_first, failure_of
from ckptkit.session.session_base import SessionBase
from ckptkit.session.tensor_transfer import receive, send
from ckptkit.tracking.snapshot import take_snapshot
from ckptkit.tracking.worker_part import (
    entries_of,
    is_shared,
    saved_key,
    shared_digests,
)
from ckptkit.workers.cluster import Cluster

RESTORE_SECS = 600.0
"""Seconds within which the first worker has found and restored a checkpoint, and sends it."""


@dataclass(frozen=True, kw_only=True)
class SentCheckpoint:
    """A checkpoint as one worker restores it, without its values.

    Args:
        manifest: its manifest, without the tensors.
        tensors: the descriptions of its tensors on this worker.
        shared: how many of them, at the beginning, all workers get in common.
    """

    manifest: Manifest
    tensors: tuple[TensorEntry, ...]
    shared: int


@dataclass(frozen=True, kw_only=True)
class Head:
    """What the first worker tells another one: a checkpoint, why there is none, or a new run."""

    sent: SentCheckpoint | None = None
    failure: Failure | None = None


class WorkerResume:
    """Restores the newest good checkpoint on all workers.

    Args:
        cluster: the workers.
        session: the session of this worker.
    """

    def __init__(self, cluster: Cluster, session: SessionBase) -> None:
        self._cluster, self._session = cluster, session

    def restore(self) -> Checkpoint | None:
        """Restore, and check that all workers have the same values then.

        Returns:
            The checkpoint, or None for a new run.

        Raises:
            ConfigError: If another number of workers wrote it, or the workers have other values.
                Also if the first worker cannot restore, and could not at another start either.
            WorkersLateError: If the first worker does not send it in time.
            WorkerLost: If another worker has ended.
        """
        if self._cluster.rank == 0:
            try:
                checkpoint = self._session.resume.restore_newest()
            except Exception as error:
                self._tell(Head(failure=failure_of(error)))
                raise
            self._send(checkpoint)
        else:
            self._receive()
            checkpoint = self._session.resume.restore_newest()
            self._forget(checkpoint)
        self._compare()
        if self._cluster.rank == 0:
            self._cluster.delete("restore")  # all have read it, and it takes memory
        return checkpoint

    # -- the first worker

    def _send(self, checkpoint: Checkpoint | None) -> None:
        if checkpoint is None:
            self._tell(Head())
            return
        others = range(1, self._cluster.size)
        shared = self._shared_entries(checkpoint)
        own = {rank: entries_of(checkpoint.manifest.tensors, rank) for rank in others}
        for rank in others:
            sent = SentCheckpoint(
                manifest=replace(
                    checkpoint.manifest,
                    tensors=(),
                    files=(),
                    # The first worker compares the layers with the stored architecture.
                    states=tuple(
                        replace(each, architecture=msgspec.UNSET)
                        for each in checkpoint.manifest.states
                    ),
                    anchors=_anchors_of(checkpoint.manifest, rank),
                ),
                tensors=(*shared, *own[rank]),
                shared=len(shared),
            )
            self._cluster.put(f"restore/{rank}", msgspec.msgpack.encode(Head(sent=sent)))
        read = partial(tensor_bundle.read_tensors, checkpoint.prefix)
        send(self._cluster, "restore/shared", shared, read, others, RESTORE_SECS)
        for rank in others:
            read_own = partial(_read_own, checkpoint, rank)
            send(self._cluster, f"restore/own-{rank}", own[rank], read_own, [rank], RESTORE_SECS)

    def _tell(self, head: Head) -> None:
        for rank in range(1, self._cluster.size):
            self._cluster.put(f"restore/{rank}", msgspec.msgpack.encode(head))

    def _shared_entries(self, checkpoint: Checkpoint) -> list[TensorEntry]:
        """Return the tensors that all workers get, by what is shared in this program."""
        own = {leaf.key for leaf in self._session.tracked.now().leaves if not is_shared(leaf)}
        return [
            entry
            for entry in checkpoint.manifest.tensors
            if entry.role != WORKER and leaf_key(entry.key) not in own
        ]

    # -- the others

    def _receive(self) -> None:
        """Write what the first worker sends into this worker's own directory."""
        rank = self._cluster.rank
        value = self._cluster.get(f"restore/{rank}", RESTORE_SECS)
        head = msgspec.msgpack.decode(value, type=Head)
        if head.failure is not None:
            raise error_of_first(head.failure, "restore the run")
        if (sent := head.sent) is None:
            return
        shared, own = sent.tensors[: sent.shared], sent.tensors[sent.shared :]
        tensors = {
            **receive(self._cluster, "restore/shared", shared, RESTORE_SECS),
            **receive(self._cluster, f"restore/own-{rank}", own, RESTORE_SECS),
        }
        options = self._session.options
        manifest = replace(sent.manifest, tensors=sent.tensors)
        directory = begin_writing(options.files, options.layout, manifest.attempt)
        tensor_bundle.save_values(tensors, directory, manifest.step)
        version = format_version(manifest.anchors, manifest.tensors)
        commit(options.files, options.layout, replace(manifest, format_version=version))

    def _forget(self, checkpoint: Checkpoint | None) -> None:
        """Remove the files again, which are restored now."""
        if checkpoint is not None:
            shutil.rmtree(checkpoint.path, ignore_errors=True)

    # -- all

    def _compare(self) -> None:
        """Check that what all workers share has the same bits on each.

        Raises:
            ConfigError: If it has not, for example because they began with other values.
        """
        now = shared_digests(take_snapshot(self._session.tracked.now()))
        found = self._cluster.gather("restored", msgspec.json.encode(now), RESTORE_SECS)
        first = msgspec.json.decode(found[0], type=dict[str, int])
        for rank, each in enumerate(found):
            there = msgspec.json.decode(each, type=dict[str, int])
            if other := [key for key in first if there.get(key) != first[key]]:
                raise ConfigError(
                    "Expected the same values on all workers before the first step. Received: "
                    f"{len(other)} of {len(first)} variables differ between worker 0 and worker "
                    f"{rank}, such as {other[0]}. Make the model inside of strategy.scope(), and "
                    "load the same weights on all workers."
                )
        logger.debug("%d variables are equal on %d workers", len(first), self._cluster.size)


def _anchors_of(manifest: Manifest, rank: int) -> tuple[AnchorEntry, ...]:
    """Return the positions in the data of one worker that count batches."""
    prefix = saved_key("", rank)
    return tuple(
        replace(each, key=each.key.removeprefix(prefix))
        for each in manifest.anchors
        if each.key.startswith(prefix)
    )


def _read_own(checkpoint: Checkpoint, rank: int, own: list[TensorEntry]) -> list[tf.Tensor]:
    """Read some of a worker's own tensors."""
    saved = [replace(each, key=saved_key(each.key, rank)) for each in own]
    return tensor_bundle.read_tensors(checkpoint.prefix, saved)
