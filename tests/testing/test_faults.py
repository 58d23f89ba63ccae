"""The tools themselves: a fault strikes where it was asked for, and a clock goes on when it is told
to.
"""

from __future__ import annotations

import errno
import os
import signal

import pytest

import ckptkit
from ckptkit.clock import Clock
from ckptkit.storage.files import FileSystem
from ckptkit.testing import FakeClock, FaultyFiles


def is_sync(step):
    return step.kind == "SyncFile"


def refused(action):
    try:
        action()
    except ckptkit.StorageError as error:
        return errno.errorcode[error.errno]
    return None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["ENOSPC", None, None, None]),
        ({"at": 2}, [None, "ENOSPC", None, None]),
        ({"at": 2, "times": 2}, [None, "ENOSPC", "ENOSPC", None]),
        ({"at": 3, "times": None}, [None, None, "ENOSPC", "ENOSPC"]),
    ],
    ids=str,
)
def test_the_nth_that_counts_fails(tmp_path, options, expected):
    files = FaultyFiles()
    files.fail(errno.ENOSPC, when=is_sync, **options)
    assert [
        refused(lambda n=n: files.create(tmp_path / str(n), b"x")) for n in range(4)
    ] == expected
    assert files.reached == sum(said is not None for said in expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        str(n) for n in range(4) if expected[n] is None
    ]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_any_error(tmp_path, number):
    files = FaultyFiles()
    files.fail(number)
    assert refused(lambda: files.make_dir(tmp_path / "a")) == errno.errorcode[number]
    assert files.steps == []
    files.make_dir(tmp_path / "a")


def test_each_step_of_an_operation_can_be_failed(tmp_path):
    for at in range(1, 6):
        files = FaultyFiles()
        files.fail(at=at)
        said = refused(lambda files=files: files.replace_content(tmp_path / "f", b"new"))
        assert said == ("EIO" if at <= 4 else None), at
        assert files.reached == (at <= 4)


def test_a_torn_write(tmp_path):
    files = FaultyFiles()
    files.fail(when=lambda step: step.kind == "Append", after_bytes=2)
    files.fail(when=lambda step: step.kind == "Truncate")
    assert refused(lambda: files.append(tmp_path / "f", b"line\n")) == "EIO"
    assert files.reached == 2, "the tearing, and the repair"
    assert (tmp_path / "f").read_bytes() == b"li"


def test_several_faults_and_healing(tmp_path):
    files = FaultyFiles()
    files.fail(errno.EIO, when=is_sync, times=None)
    files.fail(errno.EACCES, when=lambda step: step.path.name == "a", times=None)
    assert refused(lambda: files.sync_file(tmp_path)) == "EIO"
    assert refused(lambda: files.create(tmp_path / "a", b"")) == "EACCES"
    files.heal()
    files.create(tmp_path / "a", b"")
    assert files.reached == 2


@pytest.mark.parametrize(
    ("options", "left"),
    [({}, b"1"), ({"after": True}, b"12"), ({"after_bytes": 0}, b"1"), ({"after_bytes": 1}, b"12")],
    ids=str,
)
def test_killed_at_a_step(tmp_path, options, left):
    child = os.fork()
    if child == 0:
        files = FaultyFiles()
        files.kill(at=2, when=lambda step: step.kind == "Append", **options)
        for digit in (b"1", b"2", b"3"):
            files.append(tmp_path / "f", digit)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert (tmp_path / "f").read_bytes() == left


@pytest.mark.parametrize("options", [{"at": 0}, {"times": 0}])
def test_a_fault_that_could_never_strike_is_refused(options):
    with pytest.raises(ValueError, match="count from 1"):
        FaultyFiles().fail(**options)


def test_without_faults_it_is_the_real_file_system(tmp_path):
    assert isinstance(FaultyFiles(), FileSystem)
    FaultyFiles().create(tmp_path / "f", b"x")
    assert (tmp_path / "f").read_bytes() == b"x"


def test_the_clock():
    clock: Clock = FakeClock(100.0)
    assert isinstance(clock, FakeClock)
    assert (clock.now(), clock.now(), clock.monotonic()) == (100.0, 100.0, 0.0)
    clock.sleep(5)
    clock.set_back(60)
    clock.advance(1)
    assert (clock.now(), clock.monotonic()) == (46.0, 6.0)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
