"""Writes snapshots so that a checkpoint shares the data that has not changed with the one before.

A checkpoint stays complete in itself, in TensorFlow's own format. It has several data files, and
those with unchanged tensors are hard links to the files of the newest checkpoint.
"""

from __future__ import annotations

import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf

from ckptkit.bundle import merged_bundle, tensor_bundle
from ckptkit.bundle.graph_tensors import graph_tensors, save_counter
from ckptkit.bundle.tensor_bundle import SUFFIX
from ckptkit.errors import StorageError
from ckptkit.layout import PREFIX, CheckpointName
from ckptkit.log import logger
from ckptkit.run.manifest import FileEntry, Manifest
from ckptkit.run.save_target import SaveContext
from ckptkit.run.verify import file_entry
from ckptkit.storage.files import NO_SPACE, storage_errors
from ckptkit.tracking.snapshot import Snapshot
from ckptkit.tracking.trackable_graph import EMPTY, TrackableGraph
from ckptkit.writing.data_groups import DataGroup, GroupPlan, plan_groups
from ckptkit.writing.unchanged_tensors import ContentComparison, ContentRecord

VERIFY_EVERY = 8
"""A file is read and compared with its digest each time that it was shared so often.

Otherwise a disk that loses one bit would spoil all later checkpoints of a process, unnoticed.
"""


@dataclass(frozen=True)
class NewGroup:
    """Settled tensors that a checkpoint has in a data file of their own for the first time.

    Args:
        keys: their keys.
        size_bytes: the size of their values in bytes.
        file_name: the name of the data file.
        index: TensorFlow's index of that file.
    """

    keys: frozenset[str]
    size_bytes: int
    file_name: str
    index: bytes


@dataclass(frozen=True)
class WrittenBundle:
    """The files of a checkpoint that is not committed yet.

    Args:
        groups: the groups that it shares, with their files in this checkpoint.
        new: the group that later checkpoints may share, or None.
    """

    groups: tuple[DataGroup, ...] = ()
    new: NewGroup | None = None

    def known_entry(self, name: str) -> FileEntry | None:
        """Return the size and digest of a shared file, so that it is not read again, or None.

        Args:
            name: the name of the file in this checkpoint.
        """
        return next((group.file for group in self.groups if group.file.name == name), None)

    @property
    def shared_bytes(self) -> int:
        """The size of the shared files in bytes."""
        return sum(group.file.size_bytes for group in self.groups)


class PlannedBundle:
    """The files of the next checkpoint, as a comparison with the newest one has planned them.

    Args:
        bundle: see `IncrementalBundle`.
        snapshot: the state to write.
        comparison: the comparison of its tensors with the newest checkpoint.
    """

    def __init__(
        self, bundle: IncrementalBundle, snapshot: Snapshot, comparison: ContentComparison
    ) -> None:
        self.bundle, self._snapshot, self._comparison = bundle, snapshot, comparison
        # Kept here, because an emergency save may be committed before this one is written.
        self._newest, self._groups = bundle.newest, bundle.groups
        self._sizes = {key: _size_of(tensor) for key, (_, tensor) in snapshot.tensors.items()}
        self._plan = self._planned(self._groups)

    @property
    def unchanged(self) -> frozenset[str]:
        """The keys of tensors that have not changed since the newest checkpoint."""
        return self._comparison.unchanged

    @property
    def shared_bytes(self) -> int:
        """The size in bytes of the values that are on the disk already."""
        return sum(group.size_bytes for group in self._plan.shared)

    @property
    def new_bytes(self) -> int:
        """The size in bytes of the values that `write` writes."""
        return sum(self._sizes.values()) - self.shared_bytes

    def share(self, target: SaveContext, directory: Path) -> None:
        """Link the files of unchanged tensors, as the first parts of the next checkpoint.

        If that fails, everything is written anew: all values are in memory.

        Args:
            target: where and how to write.
            directory: the directory, which must exist and be empty.

        Raises:
            StorageError: If the disk is full.
        """
        # Nothing, if an earlier try has failed and the bundle has forgotten its groups.
        self._plan = self._planned(self._groups if self.bundle.groups else ())
        try:
            for number, group in enumerate(self._plan.shared):
                self._link(target, group, directory / merged_bundle.part_data(number))
        except StorageError as error:
            if error.errno in NO_SPACE:
                raise
            if self.bundle.can_link:
                # Not only this save's concern: earlier checkpoints may have the same file.
                logger.warning("unchanged data is written anew, and not shared: %s", error)
            self.bundle.forget()
            self._plan = self._planned(())
            with storage_errors("list", directory):
                left = list(directory.iterdir())
            for path in left:
                target.files.remove_file(path)

    def write(self, directory: Path, step: int) -> WrittenBundle:
        """Write the changed values, and join all parts as `ckpt-<step>`.

        Args:
            directory: the directory with the parts that `share` has linked.
            step: the number in the files' names.

        Raises:
            StorageError: If the disk refuses.
        """
        plan, tensors = self._plan, self._snapshot.tensors
        graph = self.bundle.object_graph(self._snapshot.graph, frozenset(tensors))
        beside = {**graph, **save_counter(step)}
        if not plan.shared and not plan.new:
            tensor_bundle.write_tensors(self._snapshot, directory, step, beside)
            return WrittenBundle()
        assert plan.rest, "the random states of the process always count as changed"
        parts = [
            {key + SUFFIX: tensors[key][1] for key in sorted(keys)}
            for keys in (plan.rest, plan.new)
            if keys
        ]
        parts[0] |= beside
        first = len(plan.shared)
        indexes = merged_bundle.write_parts(parts, directory, first)
        count = first + len(parts)
        shared = [group.index for group in plan.shared]
        merged_bundle.merge_parts(shared, count, directory, step)
        names = [
            merged_bundle.data_file(f"{PREFIX}-{step}", number, count) for number in range(count)
        ]
        groups = tuple(
            replace(group, file=replace(group.file, name=name), shares=group.shares + 1)
            for group, name in zip(plan.shared, names, strict=False)
        )
        size_bytes = sum(self._sizes[key] for key in plan.new)
        new = NewGroup(plan.new, size_bytes, names[-1], indexes[-1]) if plan.new else None
        return WrittenBundle(groups, new)

    def committed(self, target: SaveContext, written: WrittenBundle, manifest: Manifest) -> None:
        """Note that the checkpoint is the newest one now.

        Args:
            target: where it was written.
            written: the result of `write`.
            manifest: the manifest of the checkpoint.
        """
        groups = written.groups
        if (new := written.new) is not None:
            (file,) = (each for each in manifest.files if each.name == new.file_name)
            path = target.index.layout.checkpoint(manifest.name) / file.name
            with suppress(OSError):  # then the next checkpoint does not share it
                modified_ns = path.stat().st_mtime_ns
                made = DataGroup(new.keys, new.size_bytes, file, new.index, modified_ns)
                groups += (made,)
        self.bundle.committed(manifest.name, groups, self._comparison)

    def _planned(self, groups: tuple[DataGroup, ...]) -> GroupPlan:
        settled = self._comparison.settled if self.bundle.can_link else frozenset()
        return plan_groups(self._sizes, self._comparison.unchanged, settled, groups)

    def _link(self, target: SaveContext, group: DataGroup, linked: Path) -> None:
        """Link the file of a group, if it is still as it was written.

        Raises:
            StorageError: If it cannot be linked or read, or has changed.
        """
        assert self._newest is not None
        source = target.index.layout.checkpoint(self._newest) / group.file.name
        if not target.files.link(source, linked):
            self.bundle.can_link = False
            raise StorageError(f"The file system of {linked} has no hard links.")
        with storage_errors("read", linked):
            status = target.files.status(linked)
        known = (group.file.size_bytes, group.modified_ns)
        if (
            status is None
            or not stat.S_ISREG(status.st_mode)
            or (status.st_size, status.st_mtime_ns) != known
        ):
            raise StorageError(f"Another program has changed {source}.")
        if group.shares % VERIFY_EVERY == VERIFY_EVERY - 1:
            with storage_errors("read", linked):
                now = file_entry(linked)
            if now.digest != group.file.digest:
                raise StorageError(
                    f"{source} is damaged, and so is every checkpoint that shares it. Find them "
                    "with: ckptkit verify"
                )


class IncrementalBundle:
    """The files of a session's checkpoints, and what the newest one has for others to share.

    Attributes:
        newest: the newest checkpoint that this session has written, or None.
        groups: the groups of tensors in that checkpoint that may be shared.
        can_link: whether the file system has hard links, as far as is known.
    """

    def __init__(self) -> None:
        self._record = ContentRecord()
        self.newest: CheckpointName | None = None
        self.groups: tuple[DataGroup, ...] = ()
        self.can_link = True
        self._graph = EMPTY
        self._graphs: dict[frozenset[str], dict[str, tf.Tensor]] = {}

    def plan(self, snapshot: Snapshot) -> PlannedBundle:
        """Compare a snapshot with the newest checkpoint, and plan the files of the next one.

        Args:
            snapshot: the state.
        """
        tensors = {key: tensor for key, (_, tensor) in snapshot.tensors.items()}
        return PlannedBundle(self, snapshot, self._record.compare(tensors))

    def expected_bytes(self, snapshot: Snapshot) -> int:
        """Return how many bytes a save of a snapshot would probably write, without reading it all.

        Args:
            snapshot: the state.
        """
        tensors = {key: tensor for key, (_, tensor) in snapshot.tensors.items()}
        shared = sum(
            group.size_bytes
            for group in self.groups
            if all(
                key in tensors and self._record.looks_same(key, tensors[key]) for key in group.keys
            )
        )
        return sum(map(_size_of, tensors.values())) - shared

    def forget(self) -> None:
        """Share nothing with the next checkpoint."""
        self.groups = ()

    def committed(
        self, name: CheckpointName, groups: tuple[DataGroup, ...], comparison: ContentComparison
    ) -> None:
        """Note the newest checkpoint; see `PlannedBundle.committed`."""
        self._record.remember(comparison)
        self.newest, self.groups = name, groups

    def object_graph(self, graph: TrackableGraph, keys: frozenset[str]) -> dict[str, tf.Tensor]:
        """Return TensorFlow's graph of the objects; it is mostly the same at each save.

        Args:
            graph: the objects that TensorFlow follows from the state.
            keys: the keys of all values.
        """
        if graph is not self._graph:
            self._graph, self._graphs = graph, {}
        if keys not in self._graphs:
            # Two: the weights of an evaluation are saved at some saves only.
            self._graphs = dict(list(self._graphs.items())[-1:])
            self._graphs[keys] = graph_tensors(graph, keys)
        return self._graphs[keys]


def _size_of(tensor: tf.Tensor) -> int:
    """Return the size of a tensor in bytes; 0 for strings and variants, which do not say it."""
    if tensor.dtype == tf.string or tensor.dtype == tf.variant:
        return 0
    return int(tensor.dtype.size) * int(tensor.shape.num_elements() or 0)
