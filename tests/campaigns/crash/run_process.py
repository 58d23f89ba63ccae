"""What a training does in a run directory, without a training: saves whose content says which one
it is. No TensorFlow.

Each save has a serial number, which stands in its manifest and is its content; so a test can tell
which of them is there, and whether it is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.ownership.fenced_file_system import FencedFiles
from ckptkit.ownership.machine_identity import Machine
from ckptkit.ownership.run_lock import RunLock
from ckptkit.policies import KeepLatest, KeepPolicy
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.checkpoint_state_file import write_state_file
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.fresh_start import make_checkpoints
from ckptkit.run.journal import DeferredJournal, Journal, best_effort, next_attempt
from ckptkit.run.manifest import Manifest, StateEntry, decode
from ckptkit.run.retention import retain
from ckptkit.run.run_recovery import recover
from ckptkit.run.set_aside import set_aside
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.run.verify import verify
from ckptkit.storage.files import FileSystem, storage_errors
from ckptkit.storage.operations import (
    Append,
    CreateFile,
    Operation,
    Rename,
    SyncDir,
    Unlink,
)
from ckptkit.testing import FakeClock, FaultyFiles
from tests.support.disks import Unsynced

ALL = KeepLatest(99)


class Tape(FaultyFiles, Unsynced):
    """Notes all steps, and lets faults be set.

    Attributes:
        tried: each step, also one that was refused, with the number of those that were done before
            it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[tuple[int, Operation]] = []

    def do(self, step: Operation) -> None:
        self.tried.append((len(self.steps), step))
        super().do(step)


class RunProcess:
    """One process's life with a run.

    Args:
        root: a directory; the run is `run` in it.
        files: how the disk is changed.
    """

    def __init__(self, root: Path, files: FileSystem) -> None:
        self.layout = RunLayout(root / "run")
        self.files = self.owned = files
        self.index = CheckpointIndex(self.layout)
        self.journal: Journal
        self._lock: RunLock | None = None

    def begin(self, machine: Machine | None = None) -> RunProcess:
        """Start an attempt; if it is on another machine, how the last one ended is unknown."""
        make_checkpoints(self.files, self.layout)
        self.end()
        self._lock = lock = RunLock(
            self.files,
            self.layout,
            FakeClock(),
            at_least=next_attempt(self.layout),
            machine=machine,
        )
        self.owned = FencedFiles(self.files, lock.check)
        self.journal = journal = DeferredJournal(self.owned, self.layout, FakeClock(), lock.number)
        self.index = CheckpointIndex(self.layout, lock.number)
        self.journal.record_durable(events.AttemptStarted(host="host", pid=1, program="train.py"))
        recover(self.owned, self.layout, self.journal, lock)
        journal.require()
        return self

    def end(self) -> None:
        """End as a killed process does: the kernel releases its locks."""
        if self._lock is not None:
            self._lock.drop()

    def save(
        self, step: int, serial: int, keep: KeepPolicy = ALL, *, anchor: str | None = None
    ) -> None:
        """A save from its beginning to the state file.

        Args:
            step: its step.
            serial: its number.
            keep: what stays.
            anchor: "new" writes an anchor beside it, and "shared" links that of an earlier save.
                "data" links a data file of the newest checkpoint, which TensorFlow then renames.
        """
        directory = begin_writing(self.owned, self.layout, self.journal.attempt)
        if anchor == "data":
            self.share_data(directory, step)
        self.write_tensors(directory, step, serial)
        if anchor == "new":
            self.write_files(directory, anchor_content(step))
        elif anchor == "shared":
            for source in self._newest_anchor():
                self.owned.share(source, directory / source.name)
        written = commit(self.owned, self.layout, manifest(step, self.journal.attempt, serial))
        self.index.add(written)
        self.journal.record(
            events.Saved(
                checkpoint=str(written.name),
                step=step,
                epoch=0,
                batch=step,
                trigger="test",
                size_bytes=written.size_bytes,
                snapshot_secs=0.0,
                write_secs=0.0,
            )
        )
        with best_effort(self.journal, "apply the keep policy"):
            self.retain(keep)

    def try_save(self, step: int, serial: int, keep: KeepPolicy = ALL) -> StorageError | None:
        """A save after whose failure training goes on, as the writer does it; returns what was
        refused.
        """
        try:
            self.save(step, serial, keep)
        except StorageError as error:
            try:
                self.owned.remove_tree(self.layout.writing(self.journal.attempt))
                self.journal.record(
                    events.SaveFailed(step=step, error="StorageError", message=str(error))
                )
            except StorageError:
                pass
            return error
        return None

    def write_tensors(self, directory: Path, step: int, serial: int) -> None:
        """What TensorFlow does: nothing is synced, a name may be there before its content, and a
        state file is left.
        """
        self.write_files(directory, content(step, serial))
        with storage_errors("write", directory):
            self.files.do(Append(directory / "checkpoint", b"model_checkpoint_path"))

    def share_data(self, directory: Path, step: int) -> None:
        """Link the data file of unchanged tensors, and join it with the others as TensorFlow does;
        it is written if no checkpoint has one.
        """
        found = [
            path
            for checkpoint in list_checkpoints(self.layout)
            for path in checkpoint.path.glob("*.data-00001-of-00002")
        ]
        part, index = directory / "part-0.data-00000-of-00001", directory / "part-0.index"
        if found:
            self.owned.share(found[-1], part)
            self.owned.create(index, b"index of unchanged tensors")
        else:
            self.write_files(
                directory, {part.name: b"unchanged tensors " * 9, index.name: b"index"}
            )
        with storage_errors("write", directory):
            self.files.do(Rename(part, directory / f"ckpt-{step}.data-00001-of-00002"))
            self.files.do(Unlink(index))

    def write_files(self, directory: Path, contents: Mapping[str, bytes]) -> None:
        """Write files as TensorFlow does."""
        with storage_errors("write", directory):
            for name, data in contents.items():
                self.files.do(CreateFile(directory / f"{name}.tempstate"))
                for piece in (data[:40], data[40:]):
                    self.files.do(Append(directory / f"{name}.tempstate", piece))
                self.files.do(Rename(directory / f"{name}.tempstate", directory / name))

    def _newest_anchor(self) -> list[Path]:
        found = [
            sorted(checkpoint.path.glob("data-*")) for checkpoint in list_checkpoints(self.layout)
        ]
        return [files for files in found if files][-1]

    def retain(self, keep: KeepPolicy) -> None:
        retain(self.owned, self.index, self.journal, keep)
        write_state_file(
            self.owned,
            self.layout,
            self.index.names(),
        )

    def pass_over_damaged(self) -> Checkpoint | None:
        """As `newest_good` does, which stands above TensorFlow's land."""
        for checkpoint in reversed(list_checkpoints(self.layout)):
            try:
                verify(checkpoint)
            except CorruptCheckpointError as error:
                moved = set_aside(self.files, checkpoint.path, self.layout.quarantine)
                self.journal.record(
                    events.PassedOver(
                        checkpoint=str(checkpoint.name), reason=str(error), moved_to=moved.name
                    )
                )
            else:
                return checkpoint
        return None


def content(step: int, serial: int) -> dict[str, bytes]:
    """The files of a save."""
    return {
        f"ckpt-{step}.data-00000-of-00001": f"data of save {serial} ".encode() * 5,
        f"ckpt-{step}.index": f"index of save {serial} ".encode() * 5,
    }


def anchor_content(step: int) -> dict[str, bytes]:
    """The files of an anchor that was taken at a step."""
    return {
        f"data-{step}-1-0.data-00000-of-00001": f"anchor of step {step} ".encode() * 9,
        f"data-{step}-1-0.index": f"index of an anchor of step {step} ".encode() * 3,
    }


def manifest(step: int, attempt: int, serial: int) -> Manifest:
    return Manifest(
        step=step,
        epoch=0,
        batch=step,
        attempt=attempt,
        saved_at=0.0,
        trigger="test",
        tensors=(),
        metrics={"serial": serial},
        states=(StateEntry(name="model", class_name="Model"),),
    )


def serial_of(checkpoint: Checkpoint) -> int:
    """Which save a checkpoint is; it is verified, and has its own content."""
    verify(checkpoint)
    serial = int(checkpoint.metrics["serial"])
    for name, data in content(checkpoint.step, serial).items():
        assert (checkpoint.path / name).read_bytes() == data, (
            f"{checkpoint.name} holds another content than that of save {serial}"
        )
    return serial


def committed(steps: list[Operation]) -> list[tuple[int, int, int]]:
    """The saves that a trace commits: serial number, how many steps make it visible, and how many
    until it must not be lost any more (0: it may).

    That is the sync of `checkpoints/`, or the line in the journal that tells of the save, whichever
    comes first.
    """
    serials: dict[Path, int] = {}
    found: list[tuple[int, int, int]] = []
    for number, step in enumerate(steps, start=1):
        if isinstance(step, Append) and step.path.name == "manifest.json":
            serials[step.path.parent] = int(decode(step.data, step.path).metrics["serial"])
        elif isinstance(step, Rename) and step.path.name.startswith(".writing-"):
            found.append((serials.get(step.path, 0), number, 0))
        elif (isinstance(step, SyncDir) and step.path.name == "checkpoints") or (
            isinstance(step, Append) and b'"event":"saved"' in step.data
        ):
            found = [(serial, visible, durable or number) for serial, visible, durable in found]
    return found
