"""Containers on one kernel: each has a name of its own, and the kernel knows who lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

import ckptkit
from ckptkit.ownership import reader_leases
from ckptkit.ownership.claims import list_claims
from ckptkit.ownership.machine_identity import Machine, this_machine
from ckptkit.ownership.run_lock import LEASE_SECS, RunLock
from ckptkit.storage.files import FileSystem
from ckptkit.testing import FakeClock

ONE, OTHER = Machine("3f1c0a", "kernel 1"), Machine("99b2d4", "kernel 1")

OWNER = """
import sys, time
from pathlib import Path
from ckptkit.clock import SystemClock
from ckptkit.layout import RunLayout
from ckptkit.ownership.machine_identity import Machine
from ckptkit.ownership.run_lock import RunLock
from ckptkit.storage.files import FileSystem
root, host, boot = sys.argv[1:]
lock = RunLock(FileSystem(), RunLayout(Path(root)), SystemClock(), machine=Machine(host, boot))
print("mine", flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(layout):
    """A process in another container that owns the run, and gives no sign of life."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(layout.root), ONE.host, ONE.boot],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.wait()


def claim(layout, machine=OTHER):
    """A claim of a process in a container; returns the seconds that it waited."""
    clock = FakeClock()
    began = clock.monotonic()
    lock = RunLock(FileSystem(), layout, clock, machine=machine)
    return lock, clock.monotonic() - began


def record(layout, **fields):
    """Change fields in the record of the last claim."""
    path = list_claims(layout)[-1].path / "owner.json"
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **fields}))


def test_an_owner_that_is_stopped_in_another_container_keeps_its_run(layout, owner):
    owner.send_signal(signal.SIGSTOP)
    clock = FakeClock()
    with pytest.raises(ckptkit.RunLockedError, match=f"process {owner.pid} on 3f1c0a"):
        RunLock(FileSystem(), layout, clock, machine=OTHER)
    assert clock.monotonic() == FakeClock().monotonic()


def test_a_new_container_takes_the_run_of_a_killed_one_at_once(layout, owner):
    owner.kill()
    owner.wait()
    lock, waited = claim(layout)
    assert (lock.number, waited, lock.silent) == (2, 0, [])
    lock.release()


@pytest.mark.parametrize(
    "fields", [{"device": 0, "inode": 0}, {"inode": 1}, {"boot": "kernel 2"}], ids=str
)
def test_without_a_proof_it_waits(layout, owner, fields):
    """A claim of an earlier version, another mount, or another kernel."""
    owner.kill()
    owner.wait()
    record(layout, **fields)
    lock, waited = claim(layout)
    assert waited >= LEASE_SECS
    assert len(lock.silent) == 1
    lock.release()


def test_on_another_mount_a_lock_that_is_held_still_is_a_proof(layout, owner):
    record(layout, device=0, inode=0)
    with pytest.raises(ckptkit.RunLockedError):
        claim(layout)


def test_a_held_claim_whose_record_is_damaged_keeps_its_run(layout, owner):
    (list_claims(layout)[-1].path / "owner.json").write_bytes(b"{")
    with pytest.raises(ckptkit.RunLockedError):
        claim(layout)


def test_a_run_that_was_copied_is_not_owned(layout, owner, tmp_path):
    """The copy of a claim has another inode; on the same machine nobody holds it."""
    subprocess.run(["cp", "-r", layout.root, tmp_path / "copy"], check=True)
    lock, waited = claim(type(layout)(tmp_path / "copy"), machine=ONE)
    assert waited == 0
    lock.release()


def test_a_reader_in_another_container_counts_for_as_long_as_it_reads(layout, save):
    save(100)
    (name,) = (checkpoint.name for checkpoint in ckptkit.open_run(layout.root).checkpoints)
    layout.pins.mkdir(exist_ok=True)
    with reader_leases.held(layout, name):
        (path,) = layout.pins.iterdir()
        found = msgspec.json.decode(path.read_bytes())
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        old = {**found, "host": "3f1c0a", "since": time.time() - 10 * 3600}
        os.write(descriptor, msgspec.json.encode(old))
        os.close(descriptor)
        assert found["boot"] == this_machine().boot
        assert reader_leases.being_read(layout) == {name}
