"""Requests: written whole, for one attempt, seen once."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest

from ckptkit.clock import SystemClock
from ckptkit.errors import StorageError
from ckptkit.layout import run_layout
from ckptkit.run import control_requests
from ckptkit.run.control_requests import (
    ControlRequest,
    Mailbox,
    ask,
    new_id,
    read_request,
    withdraw,
)
from ckptkit.run.journal import start_launcher_journal
from ckptkit.run.launcher_channel import Channel, ChannelState, channel_of
from ckptkit.storage.files import FileSystem


def request(**more) -> ControlRequest:
    return ControlRequest(
        **{"id": new_id(), "action": "save", "attempt": 3, "at": 100.0, "source": "a test", **more}
    )


@pytest.fixture
def layout(tmp_path):
    return run_layout(tmp_path / "run")


def test_a_request_is_seen_once_by_the_attempt_that_it_is_for(layout):
    seen: list[ControlRequest] = []
    mailbox, other = (
        Mailbox(layout.request, 3, seen.append),
        Mailbox(layout.request, 4, seen.append),
    )
    mailbox.look()  # nothing is there
    first, second = request(), request(action="stop")
    for each in (first, first, second):
        ask(FileSystem(), layout, each)
        mailbox.look()
        mailbox.look()
        other.look()
    assert seen == [first, second]


def test_a_request_that_cannot_be_read_once_is_read_at_the_next_look(layout, monkeypatch):
    """As on NFS, where another client has replaced the file (ESTALE)."""
    seen: list[ControlRequest] = []
    mailbox, first = Mailbox(layout.request, 3, seen.append), request()
    ask(FileSystem(), layout, first)

    def refuse(path):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patch:
        patch.setattr(control_requests, "read_small", refuse)
        mailbox.look()
        assert seen == []
    mailbox.look()
    mailbox.look()
    assert seen == [first]


def test_only_the_own_request_is_taken_away(layout):
    mine, anothers = request(), request()
    ask(FileSystem(), layout, anothers)
    withdraw(FileSystem(), layout, mine)
    assert read_request(layout.request) == anothers
    withdraw(FileSystem(), layout, anothers)
    assert read_request(layout.request) is None


@pytest.mark.parametrize(
    ("later", "left"), [(0.0, 30.0), (10.0, 20.0), (40.0, 0.0), (-1000.0, 30.0)]
)
def test_what_is_left_is_never_more_than_the_grace(later, left):
    """Even if the clock that reads is behind the one that wrote."""
    assert request(grace_secs=30.0).left_secs(100.0 + later) == left
    assert request().left_secs(100.0 + later) is None


@pytest.mark.parametrize("name", ["control", "journal"])
def test_nothing_is_written_through_a_link_out_of_the_run(layout, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    layout.root.mkdir()
    (layout.root / name).symlink_to(elsewhere)
    with pytest.raises(StorageError, match="symbolic link"):
        ask(FileSystem(), layout, request()) if name == "control" else start_launcher_journal(
            FileSystem(), layout, SystemClock(), "a"
        )
    assert list(elsewhere.iterdir()) == []


def test_both_sides_of_a_channel(tmp_path):
    launcher = Channel(tmp_path)
    held = launcher.open()
    training = channel_of({"CKPTKIT_LAUNCHER": str(tmp_path)})
    assert training == launcher
    assert (launcher.is_training, training.is_launched, launcher.read()) == (False, True, None)
    speaks = training.join()
    with pytest.raises(OSError, match="temporarily unavailable"):
        training.join()  # one process speaks
    said = ChannelState(pid=os.getpid(), run="/somewhere", step=5)
    training.write(said)
    assert (launcher.is_training, launcher.read()) == (True, said)
    training.write(replace(said, pid=-1))
    assert launcher.read() is None, "a signal to that number would go to every process"
    training.write(replace(said, version=2))
    assert launcher.read() is None, "a later version is not guessed at"
    os.close(held)
    os.close(speaks)
    assert (launcher.is_training, training.is_launched) == (False, False)
