"""Programs that leave `with manager:` while they are asked to stop, or while another run is open.
Each asserts for itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

import ckptkit
from ckptkit.storage.files import FileSystem
from tests.preemption.handlers import ends_of, present, saves, send


def manager(run: str, weight: Any = None, **options: Any) -> ckptkit.CheckpointManager:
    return ckptkit.CheckpointManager(
        run, {"weight": tf.Variable(0.0) if weight is None else weight}, **options
    )


def outside_a_turn(run: str, number: str, where: str) -> None:
    """A signal that comes before the loop, after it, with a break, or where there is none: the
    program is left, with its state saved.
    """
    ask = send(signal.Signals[number])
    with manager(run) as m:
        if where == "no loop":
            m.save(2)
            m.maybe_save(3)
            ask()
        elif where == "with a break":
            for step in m.steps(10):
                if step == 4:
                    ask()
                    break
        elif where == "after a break":
            for step in m.steps(10):
                if step == 4:
                    break
            ask()
        elif where == "after the loop":
            list(m.steps(3))
            ask()
    print("trained on", flush=True)


def by_close(run: str) -> None:
    m = manager(run)
    m.restore_or_initialize()
    m.save(3)
    m.request_stop("enough")
    with pytest.raises(ckptkit.Preempted) as caught:
        m.close()
    assert (caught.value.code, caught.value.step) == (75, 3)
    assert ends_of(run) == ["preempted"]


def in_a_loop_of_saves(run: str, number: str, at: str) -> None:
    """A program that counts by itself, and never calls anything but `save`."""
    with manager(run, save=ckptkit.EveryNSteps(10**6)) as m:
        for step in range(m.position.step + 1, 21):
            if step == int(at):
                send(signal.Signals[number])()
            if step % 3 == 0:
                m.save(step)
    print("trained on", flush=True)


def with_a_handler_from_before(run: str) -> None:
    signal.signal(
        signal.SIGTERM, lambda *args: (print("handler", saves(run), flush=True), sys.exit(42))
    )
    with manager(run) as m:
        for step in m.steps(10):
            if step == 4:
                send(signal.SIGTERM)()
                break


def two_runs(directory: str, order: str) -> None:
    """Opened one after the other and closed in either order: handlers and locks are as before, and
    in between each is told.
    """
    before = present()
    a, b = manager(f"{directory}/a"), manager(f"{directory}/b")
    a.restore_or_initialize()
    b.restore_or_initialize()
    (a if order == "first" else b).close()
    left, path = (b, "b") if order == "first" else (a, "a")
    send(signal.SIGTERM)()
    with suppress(ckptkit.Preempted):
        left.maybe_save(1)
        raise AssertionError("the signal was swallowed")
    left.close()
    assert present() == before, (present(), before)
    assert sorted(
        [ends_of(f"{directory}/{path}"), ends_of(f"{directory}/{'a' if path == 'b' else 'b'}")]
    ) == [["preempted"], ["stopped"]]
    for name in ("a", "b"):  # both locks are free for another process
        pid = os.fork()
        if pid == 0:
            try:
                manager(f"{directory}/{name}").open_session()
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, name


def two_nested(directory: str, number: str) -> None:
    """A signal while two runs are open: the inner one serves it, and the outer one saves what it
    has done between its turns.
    """
    before = present()
    outer, inner = f"{directory}/outer", f"{directory}/inner"

    def train() -> None:
        with manager(outer) as a, manager(inner) as b:
            assert not any(a.maybe_save(step) for step in (1, 2, 3))
            for step in b.steps(10):
                if step == 5:
                    send(signal.Signals[number])()

    with pytest.raises(KeyboardInterrupt if number == "SIGINT" else ckptkit.Preempted):
        train()
    assert present() == before
    assert (ends_of(inner), ends_of(outer)) == (["preempted"], ["preempted"])
    assert saves(inner) == [5]


def an_idle_run_and_two_interrupts(directory: str) -> None:
    """One Ctrl-C is one KeyboardInterrupt: a run that was open beside does not hear of it later,
    and the next one saves again.
    """
    idle = manager(f"{directory}/idle")
    idle.restore_or_initialize()
    for number in range(2):
        run = f"{directory}/{number}"
        try:
            with manager(run) as m:
                for step in m.steps(10):
                    if step == 3:
                        send(signal.SIGINT)()
        except KeyboardInterrupt:
            assert saves(run) == [3]
        else:
            raise AssertionError("Ctrl-C was swallowed")
    assert list(idle.steps(2)) == [1, 2]
    idle.close()
    assert ends_of(f"{directory}/idle") == ["finished"]


class SlowJournal(FileSystem):
    """A disk on which it takes a while to note a signal."""

    def append(self, path: Path, data: bytes) -> None:
        if b"signal_received" in data:
            time.sleep(1)
        super().append(path, data)


def two_interrupts_in_one_call(run: str) -> None:
    """Both come while the main thread is in a long call, and the helper thread is still busy with
    the first: the second one counts.
    """
    with manager(run, files=SlowJournal()):
        signal.pthread_sigmask(
            signal.SIG_BLOCK, [signal.SIGINT]
        )  # so that no call is cut short; other threads take the signal
        subprocess.Popen(
            ["sh", "-c", f"sleep 0.3; kill -INT {os.getpid()}; sleep 0.3; kill -INT {os.getpid()}"]
        )
        time.sleep(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        time.sleep(30)
    raise AssertionError("the second Ctrl-C was swallowed")


def closed_off_the_main_thread(run: str) -> None:
    """A run that is opened on the main thread and closed on another leaves a handler that does what
    the one before it did.
    """
    heard: list[Any] = []
    signal.signal(signal.SIGTERM, lambda *args: heard.append(args[0]))
    m = manager(run)
    m.restore_or_initialize()
    thread = threading.Thread(target=m.close)
    thread.start()
    thread.join()
    send(signal.SIGTERM)()
    assert heard == [signal.SIGTERM]
    with manager(run):
        send(signal.SIGTERM)()
        assert heard == [signal.SIGTERM]
    raise AssertionError("the signal was swallowed")


def a_wakeup_descriptor_that_was_closed(run: str) -> None:
    """An event loop that was closed inside `with manager:` has taken its descriptor with it; the
    run is let go of all the same.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    with manager(run):
        reader.close()
        writer.close()
    assert signal.set_wakeup_fd(-1) == -1
    with manager(run) as m:
        assert list(m.steps(1)) == [1]


def an_orderly_exit(run: str, code: str) -> None:
    with manager(run) as m:
        for step in m.steps(10):
            if step == 4:
                sys.exit({"0": 0, "None": None, "3": 3}[code])
