"""Whether a launcher lives, by the kernel's word and without it."""

from __future__ import annotations

import errno
import fcntl
import os
import resource

import pytest

from ckptkit.run.launcher_channel import Channel
from ckptkit.session.launcher_client import LauncherClient


@pytest.fixture
def channel(tmp_path):
    return Channel(tmp_path)


def test_a_launcher_is_gone_when_its_lock_was_seen_to_be_free_twice(channel):
    descriptor, link = channel.open(), LauncherClient(channel, -1)
    assert channel.is_launched is True
    looks = []
    for lock in (fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_UN):
        fcntl.flock(descriptor, lock)
        looks.append(link.is_orphaned())
    assert looks == [False, False, False, False, True]
    os.close(descriptor)


def test_a_file_system_without_locks_tells_of_no_launcher(channel, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        descriptor, link = channel.open(), LauncherClient(channel, -1)
        assert (channel.is_launched, channel.is_training) == (None, None)
        assert not any(link.is_orphaned() for _ in range(5))
    assert not any(link.is_orphaned() for _ in range(5))  # and if only the training can see locks
    os.close(descriptor)


def test_a_process_without_descriptors_takes_nobody_for_dead(channel):
    descriptor, link = channel.open(), LauncherClient(channel, -1)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most[1]))
    try:
        told = [channel.is_launched, *(link.is_orphaned() for _ in range(5))]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert told == [None] + [False] * 5
    os.close(descriptor)
