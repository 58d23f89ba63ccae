"""Programs whose run cannot be opened, because the system allows no further thread.

A stack that does not fit into the address space makes the system refuse a thread, as a limit of
processes does; no right is needed for that, and nothing is patched.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

import tensorflow as tf

import ckptkit
from ckptkit.ownership.claims import check_not_held
from ckptkit.preemption.policy import Preemption
from ckptkit.preemption.request import StopBox
from ckptkit.preemption.signals import SignalGuard
from ckptkit.storage.files import FileSystem
from tests.preemption.handlers import present

_TOO_LARGE = 1 << 47


class RefusesThreads(FileSystem):
    """A disk during whose first line of a journal the system begins to refuse threads."""

    def append(self, path: Path, data: bytes) -> None:
        threading.stack_size(_TOO_LARGE)
        super().append(path, data)


def refused(run: str, which: str) -> None:
    """A thread is refused while the run is opened; the process and the run are as before.

    Args:
        run: directory of the run.
        which: thread is the first to be refused, of the `lock` or of the `control`.
    """
    weight, before = tf.Variable(0.0), present()
    options = {"files": RefusesThreads()} if which == "control" else {}
    manager = ckptkit.CheckpointManager(run, {"weight": weight}, **options)
    if which == "lock":
        threading.stack_size(_TOO_LARGE)
    try:
        manager.restore_or_initialize()
    except (RuntimeError, ckptkit.CheckpointError) as error:
        refusal = error
    threading.stack_size(0)
    assert present() == before, (present(), before)
    assert not manager.is_open
    check_not_held(manager.run.layout)
    assert isinstance(refusal, ckptkit.CheckpointError), repr(refusal)
    assert "limit of threads of this user or container" in str(refusal), refusal
    with ckptkit.CheckpointManager(run, {"weight": weight}) as manager:
        assert [*manager.steps(2)] == [1, 2]
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def refused_to_the_handlers() -> None:
    """The thread that hears signals is refused: no handler and no descriptor stays behind."""
    before, descriptors = present(), len(os.listdir("/proc/self/fd"))
    guard = SignalGuard(Preemption(), StopBox(), lambda name: None)
    threading.stack_size(_TOO_LARGE)
    try:
        guard.install()
    except (RuntimeError, ckptkit.CheckpointError):
        pass
    else:
        raise AssertionError("the thread was started")
    threading.stack_size(0)
    assert present() == before, (present(), before)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    guard.install()
    assert present() != before
    guard.restore()
    assert present() == before


def counts_by_hand(run: str, killed: bool) -> list[str]:
    """Counts its own steps, and is killed after some of them or closes the run at once."""
    said: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logging.getLogger("ckptkit").addHandler(Notes())
    value = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(run, {"v": value}, save=ckptkit.EveryNSteps(10**6))
    manager.restore_or_initialize()
    for step in range(1, 51 if killed else 1):
        value.assign_add(1.0)
        manager.maybe_save(step)
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    manager.close()
    return said
