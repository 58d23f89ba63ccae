"""One writer: whoever has a run keeps it while it lives, and loses it when it is dead or silent;
nobody else's change is seen.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import ckptkit
from ckptkit.cli.owned_run import own_run
from ckptkit.clock import SystemClock
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.ownership.claims import give_sign, list_claims
from ckptkit.ownership.fenced_file_system import FencedFiles
from ckptkit.ownership.late_checkpoint_fence import write_fence
from ckptkit.ownership.machine_identity import Machine, this_machine
from ckptkit.ownership.run_lock import LEASE_SECS, RunLock
from ckptkit.policies import KeepLatest
from ckptkit.run.checkpoint_catalog import list_checkpoints, list_shut_out
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.journal import start_journal
from ckptkit.run.retention import retain
from ckptkit.run.run_recovery import recover
from ckptkit.run.set_aside import set_aside
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.run.verify import verify
from ckptkit.storage.files import FileSystem, storage_errors
from ckptkit.storage.mounts import Mount, bucket_mount
from ckptkit.testing import FakeClock, FaultyFiles
from tests.support.stored_run import manifest

HERE, THERE = Machine("here", "1"), Machine("there", "2")

CLAIM = """
import sys, time
from pathlib import Path
from ckptkit.clock import SystemClock
from ckptkit.errors import RunLockedError
from ckptkit.storage.files import FileSystem
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.ownership.run_lock import RunLock
root, go = map(Path, sys.argv[1:])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
try:
    lock = RunLock(FileSystem(), RunLayout(root), SystemClock())
except RunLockedError as error:
    print("locked", error, flush=True)
else:
    print("mine", lock.number, flush=True)
    time.sleep(60)
"""


class Claimants:
    """Processes that claim a run at the same moment."""

    def __init__(self, root: Path, count: int) -> None:
        go = root.parent / "go"
        go.unlink(missing_ok=True)
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", CLAIM, str(root), str(go)], stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        for process in self.processes:
            assert process.stdout.readline() == "ready\n"
        go.touch()
        said = [process.stdout.readline() for process in self.processes]
        self.owners = [
            process
            for process, line in zip(self.processes, said, strict=True)
            if line.startswith("mine")
        ]
        self.refused = [line for line in said if line.startswith("locked")]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("count", [2, 8])
def test_of_processes_that_start_at_once_one_has_the_run_and_when_it_is_killed_another_takes_it(
    layout, count
):
    layout.root.mkdir()
    first = Claimants(layout.root, count)
    second = None
    try:
        assert len(first.owners) == 1
        assert len(first.refused) == count - 1
        owner = first.owners[0]
        for line in first.refused:
            assert (
                f"process {owner.pid} on {this_machine().host}, since {time.strftime('%Y-')}"
                in line
            )
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        second = Claimants(layout.root, count)
        assert len(second.owners) == 1
        assert len(second.refused) == count - 1
    finally:
        first.kill()
        if second:
            second.kill()
    assert [claim.number for claim in list_claims(layout)] == [1, 2]


def test_a_stopped_owner_on_this_machine_keeps_its_run(layout):
    layout.root.mkdir()
    claimants = Claimants(layout.root, 1)
    try:
        claimants.owners[0].send_signal(signal.SIGSTOP)
        with pytest.raises(ckptkit.RunLockedError, match=f"process {claimants.owners[0].pid} on"):
            RunLock(FileSystem(), layout, FakeClock())
    finally:
        claimants.kill()


def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_run(layout):
    layout.root.mkdir()
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        RunLock(FileSystem(), layout, SystemClock())
        if os.fork() == 0:
            os.read(reading, 1)  # the orphan lives until the test is over
        os._exit(0)
    os.waitpid(parent, 0)
    lock = RunLock(FileSystem(), layout, SystemClock())
    os.write(writing, b"x")
    assert lock.number == 2
    lock.release()


def test_let_go_it_is_free_for_everybody_at_once(layout):
    clock = FakeClock()
    RunLock(FileSystem(), layout, clock, machine=HERE).release()
    lock = RunLock(FileSystem(), layout, clock, machine=THERE)
    assert (lock.number, lock.silent, clock.monotonic()) == (2, [], FakeClock().monotonic())
    lock.release()


class Watching(FakeClock):
    """A clock that does something while somebody sleeps."""

    def __init__(self, action) -> None:
        super().__init__()
        self._action = action

    def sleep(self, secs: float) -> None:
        super().sleep(secs)
        self._action()


def test_an_owner_on_another_machine_that_gives_a_sign_of_life_keeps_its_run(layout):
    owner = RunLock(FileSystem(), layout, FakeClock(), machine=HERE)
    clock = Watching(lambda: give_sign(owner._path, "a later one"))
    with pytest.raises(ckptkit.RunLockedError, match=f"process {os.getpid()} on here, since"):
        RunLock(FileSystem(), layout, clock, machine=THERE)
    assert clock.monotonic() - FakeClock().monotonic() < 5
    owner.check()
    owner.release()


def test_an_owner_on_another_machine_that_is_silent_for_the_lease_loses_its_run(layout, caplog):
    owner = RunLock(FileSystem(), layout, FakeClock(), machine=HERE)
    clock = FakeClock()
    lock = RunLock(FileSystem(), layout, clock, machine=THERE)
    assert LEASE_SECS <= clock.monotonic() - FakeClock().monotonic() < LEASE_SECS + 2
    assert [claim.number for claim in lock.silent] == [owner.number]
    lock.settle()
    assert "s for a sign of life" in caplog.text
    lock.check()
    with pytest.raises(ckptkit.RunLockedError, match=r"was taken over by process \d+ on there"):
        owner.check()
    owner.release()
    lock.check()
    lock.release()
    assert [claim.sign for claim in list_claims(layout)] == ["released"]


def test_without_the_kernels_own_number_even_the_same_name_is_another_machine(layout):
    owner = RunLock(FileSystem(), layout, FakeClock(), machine=Machine("here", ""))
    lock = RunLock(FileSystem(), layout, FakeClock(), machine=Machine("here", ""))
    assert len(lock.silent) == 1
    owner.release()
    lock.release()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"{"),
        lambda path: path.write_bytes(b'{"host": "here", "boot": "1", "pid": 5, "since": 1e999}'),
        lambda path: path.write_bytes(b'{"host": "here", "boot": "1", "pid": 5, "since": 1e300}'),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["empty", "torn", "no time", "no date", "deep", "a directory", "a link", "a pipe"],
)
def test_a_claim_that_cannot_be_read_is_that_of_an_owner_who_may_live(layout, damage):
    RunLock(FileSystem(), layout, FakeClock(), machine=HERE).release()
    claim = list_claims(layout)[0]
    claim.sign_of_life.unlink()
    damage(claim.path / "owner.json")
    clock = FakeClock()
    lock = RunLock(FileSystem(), layout, clock, machine=HERE)
    assert lock.number == 2
    assert clock.monotonic() - FakeClock().monotonic() >= LEASE_SECS
    lock.release()


class Between(FileSystem):
    """The real file system, with something that happens right before one of its changes."""

    def __init__(self, method: str, action) -> None:
        self._action = action
        real = getattr(FileSystem, method)

        def call(*args):
            action, self._action = self._action, None
            if action is not None:
                action()
            return real(self, *args)

        setattr(self, method, call)


def test_where_somebody_else_is_quicker_by_a_moment_the_run_is_his(layout):
    others = []
    files = Between(
        "rename", lambda: others.append(RunLock(FileSystem(), layout, FakeClock(), machine=HERE))
    )
    with pytest.raises(ckptkit.RunLockedError, match="on here, since"):
        RunLock(files, layout, FakeClock(), machine=HERE)
    others[0].check()
    assert [claim.number for claim in list_claims(layout)] == [1]
    others[0].release()


def test_a_number_that_was_used_and_cleared_away_meanwhile_is_not_used_again(layout):
    others = []

    def two_others():
        RunLock(FileSystem(), layout, FakeClock(), machine=HERE).release()
        others.append(RunLock(FileSystem(), layout, FakeClock(), machine=HERE))
        others[0].settle()

    with pytest.raises(ckptkit.RunLockedError):
        RunLock(Between("rename", two_others), layout, FakeClock(), machine=HERE)
    assert [claim.number for claim in list_claims(layout)] == [2]
    others[0].check()
    others[0].release()


def test_the_record_of_an_earlier_version_gives_way(layout):
    layout.root.mkdir()
    layout.lock.write_bytes(b'{"host": "here", "pid": 1, "since": 0.0}')
    RunLock(FileSystem(), layout, FakeClock()).release()
    assert [claim.number for claim in list_claims(layout)] == [1]


def test_a_watcher_whose_storage_was_away_begins_anew(layout):
    """The signs of a living owner may be on their way still."""
    owner = RunLock(FileSystem(), layout, FakeClock(), machine=HERE)
    clock = Watching(lambda: None)
    sleeps = []

    def action():
        sleeps.append(clock.monotonic())
        if len(sleeps) == 50:
            clock.advance(600)
        if len(sleeps) == 70:
            give_sign(owner._path, "that was on its way")

    clock._action = action
    with pytest.raises(ckptkit.RunLockedError):
        RunLock(FileSystem(), layout, clock, machine=THERE)
    owner.check()
    owner.release()


def test_a_take_over_that_dies_before_it_has_shut_the_other_out_is_made_good_by_the_next(
    layout, files, save
):
    first = RunLock(files, layout, FakeClock(), machine=HERE)
    save(100, first.number)
    RunLock(
        files, layout, FakeClock(), machine=THERE
    ).release()  # it could not even write its journal
    third = RunLock(files, layout, FakeClock(), machine=THERE)
    owned = FencedFiles(files, third.check)
    recover(owned, layout, start_journal(owned, layout, FakeClock(), third.number), third)
    third.settle()
    save(200, first.number)
    assert [checkpoint.step for checkpoint in list_checkpoints(layout)] == [100]
    third.release()
    first.release()


def test_what_was_moved_away_may_be_brought_back_after_a_take_over(layout, files, save):
    RunLock(files, layout, FakeClock(), machine=HERE)
    save(100)
    save(200)
    set_aside(files, layout.checkpoint(CheckpointName(200, 1)), layout.aside / "rolled-back-000001")
    lock = RunLock(files, layout, FakeClock(), machine=THERE)
    recover(files, layout, start_journal(files, layout, FakeClock(), lock.number), lock)
    (layout.aside / "rolled-back-000001" / "ckpt-200-1").rename(
        layout.checkpoint(CheckpointName(200, 1))
    )
    assert [checkpoint.step for checkpoint in list_checkpoints(layout)] == [100, 200]
    lock.release()


def test_whoever_may_not_take_over_takes_a_silent_owner_for_a_living_one(layout):
    owner = RunLock(FileSystem(), layout, FakeClock(), machine=HERE)
    clock = FakeClock()
    with pytest.raises(ckptkit.RunLockedError, match="on here, since"):
        RunLock(FileSystem(), layout, clock, machine=THERE, take_over=False)
    assert clock.monotonic() == 0
    owner.check()
    owner.release()


def test_after_letting_go_and_in_a_forked_child_nothing_is_changed_any_more(layout):
    lock = RunLock(FileSystem(), layout, FakeClock(), machine=HERE)
    child = os.fork()
    if child == 0:
        try:
            lock.check()
        except ckptkit.RunLockedError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    lock.check()
    lock.release()
    with pytest.raises(ckptkit.RunLockedError, match="has released the run"):
        lock.check()


@pytest.mark.parametrize(
    "remove",
    [
        lambda layout: shutil.rmtree(layout.lock),
        lambda layout: layout.root.rename(layout.root.with_name("moved")),
    ],
    ids=["lock removed", "run moved"],
)
def test_an_owner_whose_claim_is_gone_has_no_run(layout, remove):
    lock = RunLock(FileSystem(), layout, FakeClock(), machine=HERE)
    remove(layout)
    with pytest.raises(ckptkit.RunLockedError, match="was the run moved"):
        FencedFiles(FileSystem(), lock.check).make_dir(layout.writing(1))
    assert not layout.writing(1).exists()
    lock.release()


def test_a_disk_that_has_no_room_for_a_sign_of_life_has_none_for_a_claim(layout):
    files = FaultyFiles()
    files.fail(
        errno.ENOSPC,
        when=lambda step: step.kind == "CreateFile" and step.path.name == "alive",
        times=None,
    )
    clock = FakeClock()
    with pytest.raises(ckptkit.StorageError, match="No space left"):
        RunLock(files, layout, clock, machine=HERE)
    assert files.reached > 1, "space may come back"
    assert 0 < clock.monotonic() < 5
    assert list(layout.lock.iterdir()) == []


def test_a_program_that_ends_without_closing_lets_go(layout):
    layout.root.mkdir()
    program = CLAIM.replace("    time.sleep(60)\n", "")
    subprocess.run(
        [sys.executable, "-c", program, str(layout.root), str(layout.root)],
        check=True,
        capture_output=True,
    )
    assert [claim.sign for claim in list_claims(layout)] == ["released"]


# -- a process that was stopped, lost its run, and wakes up


class Stopped(FileSystem):
    """The real file system of a process that is stopped before, or after, one of its changes, while
    another one takes its run.
    """

    def __init__(self, at: int, after: bool, action) -> None:
        self.done, self._at, self._after, self._action = 0, at, after, action

    def do(self, step) -> None:
        self.done += 1
        here = self.done == self._at
        if here and not self._after:
            self._action()
        super().do(step)
        if here and self._after:
            self._action()


def save_and_tidy(files, layout, lock, journal, step, attempt):
    """What a process does that saves: checks, writes, commits, and takes away what is too old."""
    owned = FencedFiles(files, lock.check)
    lock.check()
    path = begin_writing(owned, layout, attempt) / f"ckpt-{step}.index"
    with storage_errors("write", path):
        path.write_bytes(b"of the one that woke up")
    commit(owned, layout, manifest(step, attempt))
    retain(owned, CheckpointIndex(layout), journal, KeepLatest(1))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("again", [False, True], ids=["a new step", "the same step again"])
def test_what_a_process_does_that_has_lost_its_run_is_seen_by_nobody(tmp_path, after, again):
    """It is stopped at each of its changes in turn."""
    stopped_at = 0
    for at in range(1, 100):
        layout, files = RunLayout(tmp_path / f"run-{at}"), FileSystem()
        first = RunLock(files, layout, FakeClock(), machine=HERE)
        journal = start_journal(files, layout, FakeClock(), first.number)
        for step in (100, 200):
            (begin_writing(files, layout, first.number) / f"ckpt-{step}.index").write_bytes(
                b"whole"
            )
            commit(files, layout, manifest(step, first.number))
        seen, locks = [], []

        def take_over(layout=layout, files=files, seen=seen, locks=locks):
            lock = RunLock(files, layout, FakeClock(), machine=THERE)
            owned = FencedFiles(files, lock.check)
            recover(owned, layout, start_journal(owned, layout, FakeClock(), lock.number), lock)
            seen.append([checkpoint.name for checkpoint in list_checkpoints(layout)])
            locks.append(lock)

        stopped = Stopped(at, after, take_over)
        with suppress(
            ckptkit.RunLockedError, ckptkit.StorageError
        ):  # nothing else fails here, as its last round shows
            save_and_tidy(stopped, layout, first, journal, 200 if again else 300, first.number)
        if not seen:
            assert list_checkpoints(layout)[-1].step == (200 if again else 300)
            assert at > 5
            break
        stopped_at += 1
        found = list_checkpoints(layout)
        assert [checkpoint.name for checkpoint in found] == seen[0], at
        assert 200 in [checkpoint.step for checkpoint in found] or 300 in [
            checkpoint.step for checkpoint in found
        ]
        for checkpoint in found:
            verify(checkpoint)
        with pytest.raises(ckptkit.RunLockedError):
            save_and_tidy(FileSystem(), layout, first, journal, 400, first.number)
        assert [checkpoint.name for checkpoint in list_checkpoints(layout)] == seen[0]
        locks[0].check()
        first.release()
        locks[0].release()
    assert stopped_at > 5


def test_what_was_committed_late_is_known_as_such(save, layout, files):
    save(100, 1)
    write_fence(files, layout, 2, [checkpoint.name for checkpoint in list_checkpoints(layout)])
    save(200, 1)
    save(150, 2)
    assert [str(checkpoint.name) for checkpoint in list_checkpoints(layout)] == [
        "ckpt-100-1",
        "ckpt-150-2",
    ]
    assert [str(checkpoint.name) for checkpoint in list_shut_out(layout)] == ["ckpt-200-1"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"attempt": 3, "seen": []}',
        b'{"attempt": 2, "seen": [], "version": 2}',
        b"[" * 100_000,
    ],
)
def test_a_fence_that_cannot_be_read_is_said_and_hides_nothing(save, layout, content, caplog):
    save(100, 1)
    layout.fence(2).write_bytes(content)
    assert [checkpoint.step for checkpoint in list_checkpoints(layout)] == [100]
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("kind", "device", "expected"),
    [
        ("fuse.gcsfuse", "my-bucket", "gcsfuse"),
        ("fuse.s3fs", "s3fs", "s3fs"),
        ("fuse", "mountpoint-s3", "mountpoint-s3"),
        ("fuse.rclone", "remote:bucket", "rclone"),
        ("fuse", "/dev/fuse-gcsfuse-like", None),
        ("ext4", "/dev/sda1", None),
        ("nfs4", "server:/s3fs", None),
        ("fuse.sshfs", "host:/dir", None),
    ],
)
def test_bucket_mounts_are_known(tmp_path, kind, device, expected):
    where = tmp_path.resolve()
    assert (
        bucket_mount(
            where / "run", [Mount(Path("/"), "ext4", "/dev/sda1"), Mount(where, kind, device)]
        )
        == expected
    )
    assert (
        bucket_mount(
            where / "run", [Mount(where.parent, kind, device), Mount(where, "ext4", "/dev/sdb")]
        )
        is None
    )
    assert bucket_mount(where / "run") is None


# -- a system that allows no further thread


@pytest.fixture
def no_further_thread():
    """No thread can be started: each would need more memory for its stack than there can be."""
    before = threading.stack_size(1 << 46)
    yield
    threading.stack_size(before)


def test_a_run_is_free_again_if_the_thread_that_keeps_it_is_refused(layout, no_further_thread):
    lock = RunLock(FileSystem(), layout, FakeClock())
    with pytest.raises(ckptkit.CheckpointError, match="ckptkit-lock: can't start new thread"):
        lock.keep_alive()
    assert [claim.sign for claim in list_claims(layout)] == ["released"]
    RunLock(FileSystem(), layout, FakeClock()).release()


def test_a_command_whose_thread_is_refused_leaves_the_run_free(layout, no_further_thread):
    layout.root.mkdir()
    with pytest.raises(RuntimeError, match="pids limit"), own_run(layout):
        pytest.fail("the run is not owned without signs of life")
    assert [claim.sign for claim in list_claims(layout)] == ["released"]
