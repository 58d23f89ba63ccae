"""One process's life with a mirrored run, without TensorFlow, threads or a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from ckptkit.errors import CheckpointError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.mirror.mirror_settings import Mirror
from ckptkit.mirror.objects import Objects
from ckptkit.mirror.run_mirror import RunMirror
from ckptkit.mirror.store_layout import DATA, PROBE
from ckptkit.mirror.store_records import read_commit
from ckptkit.mirror.stored_commits import commit_names, list_visible
from ckptkit.mirror.uploader import Uploader
from ckptkit.ownership.run_lock import RunLock
from ckptkit.policies import KeepLatest, KeepPolicy
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.journal import next_attempt, start_journal
from ckptkit.run.retention import retain
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.storage.files import FileSystem
from ckptkit.storage.operations import Operation, SyncDir, SyncFile
from ckptkit.testing import FakeClock
from tests.support.memory_objects import KilledError, MemoryBucket, MemoryObjects
from tests.support.stored_run import manifest

URL = "s3://bucket/runs/x"
POLICY = KeepLatest(2)


def content(step: int, attempt: int) -> bytes:
    return f"step {step} of attempt {attempt}".encode() * 3


class UnsyncedFiles(FileSystem):
    """A disk that survives a killed process, not a power loss: hundreds of lives are quick then."""

    def do(self, step: Operation) -> None:
        if not isinstance(step, SyncFile | SyncDir):
            super().do(step)


@dataclass
class Life:
    """A process that opens a run, trains some steps, and saves and uploads each.

    Args:
        objects: its client of the store.
        directory: the run directory.
        steps: how many steps it trains.
        confirmed: receives each step that the store has confirmed.
    """

    objects: Objects
    directory: Path
    steps: int = 2
    confirmed: list[int] = field(default_factory=list)
    policy: KeepPolicy = POLICY
    shared: bytes = b"a file that does not change"

    def live(self) -> None:
        """Live to the orderly end."""
        self.open()
        for _ in range(self.steps):
            self.step()
        self.close()

    def open(self) -> None:
        layout, files, clock = RunLayout(self.directory), UnsyncedFiles(), FakeClock()
        self.layout, self.files = layout, files
        self.mirror = RunMirror(Mirror(URL), self.objects, layout, files, clock)
        least = self.mirror.look()
        files.make_dir(layout.checkpoints)
        files.make_dir(layout.pins)
        self.lock = RunLock(files, layout, clock, at_least=max(least, next_attempt(layout)))
        try:
            self.mirror.claim(self.lock.number)
        except BaseException:
            self.lock.release()
            raise
        self.journal = start_journal(files, layout, clock, self.lock.number)
        self.uploader = Uploader(
            layout,
            self.mirror.commits,
            self.mirror.small_files,
            self.mirror.holder,
            self.journal,
            self.policy,
            self.mirror.unsent,
        )
        found = list_checkpoints(layout)
        self.at = found[-1].step if found else 0

    def step(self) -> None:
        """Train and save a step, and upload it; an upload that fails is tried once more."""
        self.at += 1
        self.save(self.at)
        try:
            self.uploader.work()
        except StorageError:
            self.uploader.work()
        self.confirmed.append(self.at)

    def save(self, step: int, **fields: object) -> None:
        directory = begin_writing(self.files, self.layout, self.lock.number)
        (directory / f"ckpt-{step}.index").write_bytes(content(step, self.lock.number))
        (directory / "shared.data").write_bytes(self.shared)
        commit(self.files, self.layout, manifest(step, self.lock.number, **fields))
        retain(self.files, CheckpointIndex(self.layout), self.journal, self.policy)

    def close(self) -> None:
        self.mirror.release()
        self.lock.release()


def end(life: Life) -> None:
    """Let the kernel do what it does when a process dies: its lock is free."""
    if hasattr(life, "lock"):
        life.lock.drop()


def live(life: Life) -> BaseException | None:
    """Let a process live; return what ended it early."""
    try:
        life.live()
    except (KilledError, CheckpointError) as error:
        end(life)
        return error
    return None


def seen_by_readers(bucket: MemoryBucket) -> dict[str, bytes]:
    """What a reader sees: each visible commit, which has to be whole."""
    objects = MemoryObjects(bucket)
    found = {}
    for name in list_visible(objects):
        data = objects.read(name.key())
        read = read_commit(data, name)
        for file in read.record.files.values():
            content = objects.read(file.key)
            assert len(content) == file.size_bytes
            assert f"xxh3_128:{xxhash.xxh3_128_hexdigest(content)}" == file.digest
        found[str(name.checkpoint)] = data
    return found


def check_nothing_is_left_over(bucket: MemoryBucket) -> None:
    """After a sweep every object belongs to something that counts."""
    objects = MemoryObjects(bucket)
    names = list_visible(objects)
    needed = {key for name in names for key in read_commit(objects.read(name.key()), name).keys}
    assert {key for key in bucket.objects if key.startswith(DATA)} == needed
    assert set(commit_names(bucket.objects)) == set(names)
    assert not [key for key in bucket.objects if key.startswith(PROBE)]


def newest_step(bucket: MemoryBucket) -> int:
    names = list_visible(MemoryObjects(bucket))
    return names[-1].checkpoint.step if names else 0
