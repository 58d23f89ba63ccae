"""Starting threads, and a system that allows no further one."""

from __future__ import annotations

import signal
import threading

import pytest

from ckptkit.errors import CheckpointError, ThreadRefusedError
from ckptkit.preemption.policy import Preemption
from ckptkit.preemption.request import StopBox
from ckptkit.preemption.signals import SignalGuard
from ckptkit.threads import start_thread, start_timer


@pytest.fixture
def no_further_thread():
    """No thread can be started: each would need more memory for its stack than there can be."""
    before = threading.stack_size(1 << 46)
    yield
    threading.stack_size(before)


def test_a_thread_does_its_action_under_its_name():
    names = []
    thread = start_thread(lambda: names.append(threading.current_thread().name), "ckptkit-test")
    thread.join()
    assert names == ["ckptkit-test"]
    assert thread.daemon


def test_a_timer_does_its_action_later_or_never():
    done = threading.Event()
    never = start_timer(3600, done.set, "ckptkit-test")
    never.cancel()
    never.join()
    assert not done.is_set()
    start_timer(0, done.set, "ckptkit-test", daemon=False).join()
    assert done.is_set()


@pytest.mark.parametrize(
    "start",
    [lambda: start_thread(print, "ckptkit-x"), lambda: start_timer(0, print, "ckptkit-x")],
    ids=["thread", "timer"],
)
def test_a_refused_thread_is_an_error_that_says_what_to_do(no_further_thread, start):
    before = threading.active_count()
    with pytest.raises(CheckpointError, match=r"Could not start the thread ckptkit-x.*ulimit -u"):
        start()
    with pytest.raises(RuntimeError):
        start()
    assert threading.active_count() == before
    assert issubclass(ThreadRefusedError, RuntimeError)


def test_signals_are_as_before_if_the_thread_that_hears_them_is_refused(no_further_thread):
    names = ("SIGTERM", "SIGUSR1", "SIGINT")
    handlers = [signal.getsignal(getattr(signal, name)) for name in names]
    guard = SignalGuard(Preemption(), StopBox(), lambda name: None)
    with pytest.raises(ThreadRefusedError):
        guard.install()
    assert [signal.getsignal(getattr(signal, name)) for name in names] == handlers
    assert signal.set_wakeup_fd(-1) == -1
