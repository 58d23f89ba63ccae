"""Lists the checkpoints of a run, as they are on the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.ownership.late_checkpoint_fence import read_fences
from ckptkit.policies import Candidate
from ckptkit.run.manifest import Manifest, ManifestHead, from_numbers, read_head, read_manifest
from ckptkit.storage.files import DISK, FileSystem, names_in


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint on disk.

    Args:
        name: its name, with step and attempt.
        path: its directory.
        files: how its files are read.

    Example:
        >>> import ckptkit
        >>> checkpoint = ckptkit.open_run("runs/digits").find("latest")
        >>> checkpoint.step, checkpoint.head.final, checkpoint.problem
        (2, True, None)
    """

    name: CheckpointName
    path: Path
    files: FileSystem = field(default=DISK, compare=False, repr=False)

    @property
    def step(self) -> int:
        return self.name.step

    @property
    def attempt(self) -> int:
        return self.name.attempt

    @property
    def prefix(self) -> Path:
        """The path to pass to TensorFlow, as in `tf.train.load_checkpoint(prefix)`."""
        return self.path / self.name.prefix

    @cached_property
    def manifest(self) -> Manifest:
        """The whole manifest, with every tensor of the state.

        Raises:
            CorruptCheckpointError: If it cannot be read.
        """
        return read_manifest(self.path, self.files)

    @cached_property
    def head(self) -> ManifestHead:
        """The manifest without the description of the state, which is ten times faster to read.

        It is enough to list checkpoints, to choose one, and to find its files.

        Raises:
            CorruptCheckpointError: If it cannot be read.
        """
        known = self.__dict__.get("manifest")
        return known if isinstance(known, Manifest) else read_head(self.path, self.files)

    def without_anchor(self, file: str) -> Checkpoint | None:
        """Return the checkpoint without one of its anchors, or None if a resume needs that.

        The batches of its data are counted from the start of the iterator instead.

        Args:
            file: the name of a file of the anchor.

        Raises:
            CorruptCheckpointError: If the manifest cannot be read.
        """
        gone = [each for each in self.manifest.anchors if each.owns(file) and not each.needed]
        if not gone:
            return None
        made = Checkpoint(self.name, self.path, self.files)
        vars(made)["manifest"] = replace(
            self.manifest,
            anchors=tuple(
                each.without_files() if each in gone else each for each in self.manifest.anchors
            ),
            files=tuple(
                each
                for each in self.manifest.files
                if not any(anchor.owns(each.name) for anchor in gone)
            ),
        )
        return made

    @property
    def problem(self) -> str | None:
        """Why its manifest cannot be read, or None; the description of the state is not checked."""
        try:
            _ = self.head
        except (CorruptCheckpointError, StorageError) as error:
            return str(error)
        return None

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics at its position."""
        return from_numbers(self.head.metrics)

    @property
    def candidate(self) -> Candidate:
        """The facts about the checkpoint that a keep policy decides by."""
        return candidate_of(self.head)


def without_damaged_anchors(
    checkpoint: Checkpoint, verify_it: Callable[[Checkpoint], object]
) -> tuple[Checkpoint, list[CorruptCheckpointError]]:
    """Verify a checkpoint, and leave out damaged anchors that a resume can do without.

    Many checkpoints may share the files of an anchor, and must not all be lost with them.

    Args:
        checkpoint: the checkpoint.
        verify_it: verifies it; its errors name the damaged file.

    Returns:
        The checkpoint with what is left, and the damage that was found.

    Raises:
        CorruptCheckpointError: If anything else is damaged.
    """
    found: list[CorruptCheckpointError] = []
    while True:
        try:
            verify_it(checkpoint)
            return checkpoint, found
        except CorruptCheckpointError as error:
            rest = checkpoint.without_anchor(error.file) if error.file else None
            if rest is None:
                raise
            checkpoint = rest
            found.append(error)


def candidate_of(manifest: ManifestHead) -> Candidate:
    """Return the facts about a checkpoint by which a keep policy decides."""
    return Candidate(
        name=str(manifest.name),
        step=manifest.step,
        metrics=from_numbers(manifest.metrics),
        running_averages=manifest.running_averages,
        finite=not manifest.not_finite,
        saved_at=manifest.saved_at,
    )


def list_checkpoints(layout: RunLayout, files: FileSystem = DISK) -> list[Checkpoint]:
    """Return the run's checkpoints, oldest first: by attempt, then by step.

    A later attempt's checkpoint is newer even if its step is smaller, because the attempt resumed
    from an older step. A checkpoint that a process committed after it had lost the run is left out;
    see `late_checkpoint_fence.py`.

    Raises:
        StorageError: If the directory cannot be listed.
    """
    return [Checkpoint(name, layout.checkpoint(name), files) for name in list_names(layout, files)]


def list_names(layout: RunLayout, files: FileSystem = DISK) -> list[CheckpointName]:
    """Return the names of the run's checkpoints, in the order of `list_checkpoints`.

    Raises:
        StorageError: If the directory cannot be listed.
    """
    return [name for name, shut_out in _find(layout, files) if not shut_out]


def list_shut_out(layout: RunLayout, files: FileSystem = DISK) -> list[Checkpoint]:
    """Return the checkpoints that a process committed after it had lost the run.

    Their directories are in `checkpoints/`, but readers ignore them.

    Raises:
        StorageError: If the directory cannot be listed.
    """
    return [
        Checkpoint(name, layout.checkpoint(name), files)
        for name, shut_out in _find(layout, files)
        if shut_out
    ]


def _find(layout: RunLayout, files: FileSystem) -> list[tuple[CheckpointName, bool]]:
    """Return all directories with a checkpoint's name, and whether a fence hides each."""
    while True:
        entries = names_in(files, layout.checkpoints)
        try:
            fences = read_fences(
                (layout.checkpoints / entry for entry in entries if entry.startswith(".")), files
            )
            break
        except FileNotFoundError:  # a newer owner has replaced the fence meanwhile: list again
            continue
    names = [name for entry in entries if (name := CheckpointName.parse(entry)) is not None]
    names.sort(key=lambda name: (name.attempt, name.step))
    return [(name, any(fence.shuts_out(name) for fence in fences)) for name in names]
