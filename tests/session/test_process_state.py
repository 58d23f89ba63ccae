"""What sessions keep for the whole process: open runs, threads that close one, forked children."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import pytest

from ckptkit.errors import RunLockedError
from ckptkit.layout import run_layout
from ckptkit.session import process_registry
from ckptkit.session.process_registry import ProcessState, run_key, state


class Manager:
    """A manager that has a run open.

    Args:
        layout: of the run.
        is_training: whether a loop is running.
    """

    def __init__(self, layout, is_training=False):
        self.layout, self.is_open, self.is_training = layout, True, is_training
        process_registry.note_open(layout, self)

    def close_session(self, error):
        self.is_open = False
        process_registry.note_closed(self.layout, self)


@pytest.fixture
def layout(tmp_path):
    return run_layout(tmp_path / "run")


def test_a_second_manager_closes_the_first(layout):
    first = Manager(layout)
    process_registry.take_over(layout, SimpleNamespace())
    assert not first.is_open
    assert run_key(layout) not in state.open_runs


def test_one_that_is_training_is_not_closed(layout):
    first = Manager(layout, is_training=True)
    with pytest.raises(RunLockedError, match="being trained by another manager"):
        process_registry.take_over(layout, SimpleNamespace())
    assert first.is_open
    first.close_session(None)


def test_who_opens_a_run_waits_for_a_thread_that_closes_one(layout):
    events, go = [], threading.Event()

    def close():
        go.wait(60)
        events.append("closed")

    process_registry.close_on_a_thread(close)
    (thread,) = state.closing
    threading.Timer(0.05, go.set).start()
    process_registry.take_over(layout, SimpleNamespace())
    events.append("opened")
    assert events == ["closed", "opened"]
    thread.join()
    assert not state.closing


def test_a_forked_child_forgets_what_belongs_to_its_parent(layout):
    manager = Manager(layout)
    with state.guard:
        pid = os.fork()
        if pid == 0:
            try:
                assert not state.open_runs
                done = threading.Thread(target=Manager, args=(layout,))
                done.start()  # the guard is free for another thread
                done.join(30)
                os._exit(0 if run_key(layout) in state.open_runs else 2)
            except BaseException:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert state.open_runs[run_key(layout)] is manager
    manager.close_session(None)


def test_a_child_closes_its_copy_of_the_launchers_channel():
    closed = []
    client = SimpleNamespace(close_in_child=lambda: closed.append(1))
    registries = ProcessState(launchers={"a": client, "b": None}, has_opened=True)
    registries.forget_in_child()
    assert closed == [1]
    assert (registries.launchers, registries.has_opened) == ({}, False)
