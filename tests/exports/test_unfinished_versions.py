"""Whose an unpublished export is: that of a living process stays, on whatever machine it lives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckptkit.exports import version_directories
from ckptkit.exports.unfinished_versions import QUIET_SECS, lock_of, new_name
from ckptkit.ownership import kernel_lock
from ckptkit.ownership.machine_identity import Machine, this_machine
from ckptkit.storage.files import FileSystem

EXPORTS = """
import sys, pathlib
from ckptkit.exports import version_directories
from ckptkit.storage.files import FileSystem
with version_directories.writing(FileSystem(), pathlib.Path(sys.argv[1]), 7) as directory:
    (directory / "saved_model.pb").write_bytes(b"half")
    print(directory.name, flush=True)
    sys.stdin.read()
"""

ELSEWHERE = Machine("elsewhere", "b" * 36)
"""A container on another machine: its processes have the same numbers as those here."""


@contextmanager
def exporting(base):
    """A process that exports; gives its directory and the process."""
    with subprocess.Popen(
        [sys.executable, "-c", EXPORTS, str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            yield base / process.stdout.readline().strip(), process
        finally:
            process.kill()


def left_by(base, machine, kind="writing", *, lock=True):
    name = new_name(machine)
    if lock:
        lock_of(base, name).touch()
    directory = base / f".{kind}-3-{name}"
    (directory / "variables").mkdir(parents=True)
    (directory / "variables" / "variables.index").write_bytes(b"half")
    return directory


def age(base, secs):
    """As if nothing had been changed for so long."""
    for path in [base, *base.rglob("*")]:
        os.utime(path, (time.time() - secs,) * 2)


def exported(base):
    """What another export leaves of what was there."""
    with version_directories.writing(FileSystem(), base, 9):
        pass
    return {path.name for path in base.iterdir()}


def test_a_living_process_keeps_its_export_and_a_dead_one_does_not(tmp_path):
    with exporting(tmp_path) as (directory, process):
        age(tmp_path, 10 * QUIET_SECS)
        assert exported(tmp_path) == {
            directory.name,
            lock_of(tmp_path, directory.name.removeprefix(".writing-7-")).name,
        }
        assert (directory / "saved_model.pb").read_bytes() == b"half"
        process.kill()
        process.wait()
        assert exported(tmp_path) == set()


def test_a_process_that_ends_leaves_nothing(tmp_path):
    with exporting(tmp_path) as (directory, process):
        assert directory.is_dir()
        process.communicate()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["writing", "removing"])
@pytest.mark.parametrize("lock", [True, False])
def test_on_another_machine_it_stays_for_an_hour_of_silence(tmp_path, kind, lock):
    directory = left_by(tmp_path, ELSEWHERE, kind, lock=lock)
    everything = {path.name for path in tmp_path.iterdir()}
    assert exported(tmp_path) == everything
    age(tmp_path, QUIET_SECS - 60)
    assert exported(tmp_path) == everything
    age(tmp_path, QUIET_SECS + 60)
    os.utime(directory / "variables" / "variables.index")
    assert exported(tmp_path) == everything, "it writes"
    age(tmp_path, QUIET_SECS + 60)
    assert exported(tmp_path) == set()


@pytest.mark.parametrize(
    "machine",
    [
        Machine("elsewhere", this_machine().boot),
        Machine(this_machine().host, "b" * 36),
        Machine(this_machine().host, ""),
    ],
    ids=["container", "boot", "unknown"],
)
def test_a_machine_that_is_not_known_to_be_this_one_is_another(tmp_path, machine):
    directory = left_by(tmp_path, machine)
    assert directory.name in exported(tmp_path)


@pytest.mark.parametrize("kind", ["writing", "removing"])
@pytest.mark.parametrize("lock", [True, False])
def test_what_a_dead_process_of_this_machine_has_left_goes_at_once(tmp_path, kind, lock):
    left_by(tmp_path, this_machine(), kind, lock=lock)
    assert exported(tmp_path) == set()


def test_where_the_kernel_knows_no_such_locks_an_hour_has_to_pass(tmp_path, monkeypatch):
    directory = left_by(tmp_path, this_machine())
    monkeypatch.setattr(kernel_lock, "is_held", lambda path: None)
    assert directory.name in exported(tmp_path)
    age(tmp_path, QUIET_SECS + 60)
    assert exported(tmp_path) == set()


def test_what_an_earlier_version_has_left_goes_after_an_hour(tmp_path):
    """It names a process, and not of which machine."""
    for name in (f".writing-7-{os.getpid()}", ".removing-8-1", ".writing-x-1", "assets", ".lock-1"):
        (tmp_path / name).mkdir()
    assert f".writing-7-{os.getpid()}" in exported(tmp_path)
    age(tmp_path, QUIET_SECS + 60)
    assert exported(tmp_path) == {".writing-x-1", "assets", ".lock-1"}


def test_a_file_that_was_nobodys_for_a_moment_is_not_held_when_it_is_gone(tmp_path):
    """Somebody cleans up between the making of the file and the holding of it."""

    class Meets(FileSystem):
        def create(self, path, data):
            super().create(path, data)
            if not seen:
                seen.append(path)
                assert exported(tmp_path) == set()

    seen: list[Path] = []
    with version_directories.writing(Meets(), tmp_path, 7) as directory:
        own = lock_of(tmp_path, directory.name.removeprefix(".writing-7-"))
        assert own != seen[0]
        assert kernel_lock.is_held(own)
        assert exported(tmp_path) == {directory.name, own.name}
    assert list(tmp_path.iterdir()) == []
