"""Writes snapshots so that a checkpoint shares the data that has not changed with the one before.

A checkpoint stays complete in itself, in TensorFlow's own format. It has several data files, and
those with unchanged tensors are hard links to the files of the newest checkpoint.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf

from ckptkit.bundle import merged_bundle, tensor_bundle
from ckptkit.bundle.tensor_bundle import SUFFIX
from ckptkit.errors import StorageError
from ckptkit.layout import PREFIX, CheckpointName
from ckptkit.run.manifest import FileEntry, Manifest
from ckptkit.run.save_context import SaveContext
from ckptkit.storage.files import storage_errors
from ckptkit.tracking.snapshot import Snapshot
from ckptkit.writing.data_groups import DataGroup, GroupPlan, plan_groups
from ckptkit.writing.unchanged_tensors import ContentComparison, ContentRecord


@dataclass(frozen=True)
class WrittenBundle:
    """The files of a checkpoint that is not committed yet.

    Args:
        groups: the groups that it shares, with their files in this checkpoint.
        new: the keys and the size in bytes of settled tensors in a file of their own, and the name
            and the index of that file; None if there is none.
    """

    groups: tuple[DataGroup, ...] = ()
    new: tuple[frozenset[str], int, str, bytes] | None = None

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


class IncrementalBundle:
    """The files of a session's checkpoints, and what they share. One thread uses it at a time."""

    def __init__(self) -> None:
        self._record = ContentRecord()
        self._comparison = ContentComparison({})
        self._newest: CheckpointName | None = None
        self._groups: tuple[DataGroup, ...] = ()
        self._graph: tuple[frozenset[str], dict[str, tf.Tensor]] = (frozenset(), {})

    def compare(self, snapshot: Snapshot) -> frozenset[str]:
        """Compare a snapshot with the newest checkpoint that this session has written.

        Args:
            snapshot: the state, which `write` writes next.

        Returns:
            The keys of tensors that have not changed.
        """
        self._comparison = self._record.compare(_tensors_of(snapshot))
        return self._comparison.unchanged

    def new_bytes(self, snapshot: Snapshot) -> int:
        """Return the size in bytes of the data that `write` will write, at most.

        Args:
            snapshot: the state that was compared.
        """
        plan = self._plan(_sizes_of(snapshot), self._groups)
        return snapshot.size_bytes - sum(group.size_bytes for group in plan.shared)

    def write(
        self,
        target: SaveContext,
        snapshot: Snapshot,
        directory: Path,
        step: int,
        writing: AbstractContextManager[object] | None = None,
    ) -> WrittenBundle:
        """Write a snapshot as `ckpt-<step>` into a directory.

        Args:
            target: where and how to write.
            snapshot: the state that was compared.
            directory: the directory, which must exist and be empty.
            step: the number in the files' names.
            writing: a context that is entered while new data is written.

        Raises:
            StorageError: If the disk refuses.
        """
        tensors, sizes = _tensors_of(snapshot), _sizes_of(snapshot)
        plan = self._plan(sizes, self._groups)
        if plan.shared and not self._share(target, plan, directory):
            plan = self._plan(sizes, ())
        if not plan.shared and not plan.new:
            with writing or nullcontext():
                tensor_bundle.write_tensors(snapshot, directory, step)
            return WrittenBundle()
        parts = [
            {key + SUFFIX: tensors[key] for key in sorted(keys)}
            for keys in (plan.rest, plan.new)
            if keys
        ]
        parts[0] |= self._object_graph(frozenset(tensors), directory)
        with writing or nullcontext():
            indexes = merged_bundle.write_parts(parts, directory, first=len(plan.shared))
        count = len(plan.shared) + len(parts)
        merged_bundle.merge_parts(count, directory, step)
        names = [
            merged_bundle.data_file(f"{PREFIX}-{step}", number, count) for number in range(count)
        ]
        groups = tuple(
            replace(group, file=replace(group.file, name=name))
            for group, name in zip(plan.shared, names, strict=False)
        )
        size = sum(sizes[key] for key in plan.new)
        new = (plan.new, size, names[-1], indexes[-1]) if plan.new else None
        return WrittenBundle(groups, new)

    def committed(self, written: WrittenBundle, manifest: Manifest) -> None:
        """Note that a checkpoint is the newest one now.

        Args:
            written: the result of `write`.
            manifest: the manifest of the checkpoint.
        """
        self._record.remember(self._comparison)
        self._newest, self._groups = manifest.name, written.groups
        if written.new is not None:
            keys, size_bytes, name, index = written.new
            (file,) = (each for each in manifest.files if each.name == name)
            self._groups += (DataGroup(keys, size_bytes, file, index),)

    def _plan(self, sizes: Mapping[str, int], groups: tuple[DataGroup, ...]) -> GroupPlan:
        return plan_groups(sizes, self._comparison.unchanged, self._comparison.settled, groups)

    def _share(self, target: SaveContext, plan: GroupPlan, directory: Path) -> bool:
        """Link the files of the shared groups, as the first parts of the next checkpoint.

        Returns:
            Whether that was possible; if not, the directory is empty again.
        """
        if self._newest is None:
            return False
        newest = target.index.layout.checkpoint(self._newest)
        for number, group in enumerate(plan.shared):
            linked = directory / merged_bundle.part_data(number)
            try:
                target.files.share(newest / group.file.name, linked)
                with storage_errors("read", linked):
                    # A link to a file that another program has shortened would be a bad checkpoint.
                    is_whole = linked.stat().st_size == group.file.size_bytes
            except StorageError as error:
                # The keep policy or another program has removed the newest checkpoint.
                if error.errno != errno.ENOENT:
                    raise
                is_whole = False
            if not is_whole:
                self._groups = ()
                for path in directory.iterdir():
                    target.files.remove_file(path)
                return False
            target.files.create(directory / merged_bundle.part_index(number), group.index)
        return True

    def _object_graph(self, keys: frozenset[str], directory: Path) -> dict[str, tf.Tensor]:
        """Return what TensorFlow stores beside these values; it is the same at each save."""
        known, graph = self._graph
        if known != keys:
            graph = merged_bundle.object_graph(sorted(keys), directory / "graph")
            self._graph = (keys, graph)
        return graph


def _tensors_of(snapshot: Snapshot) -> dict[str, tf.Tensor]:
    return {key: tensor for key, (_, tensor) in snapshot.tensors.items()}


def _sizes_of(snapshot: Snapshot) -> dict[str, int]:
    """Return the sizes of the tensors in bytes; 0 for strings and variants, which do not say it."""
    return {
        key: 0
        if tensor.dtype in (tf.string, tf.variant)
        else tensor.dtype.size * int(tensor.shape.num_elements() or 0)
        for key, tensor in _tensors_of(snapshot).items()
    }
