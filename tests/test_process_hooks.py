"""The hooks of the whole process run in their stated order, whichever room registered first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ckptkit.process_hooks import AfterFork, AtExit, ProcessHooks


def test_hooks_run_in_the_stated_order_however_they_were_registered():
    ran = []
    hooks = ProcessHooks()
    for place in reversed(AfterFork):
        hooks.after_fork(place, lambda place=place: ran.append(place))
    for place in reversed(AtExit):
        hooks.at_exit(place, lambda place=place: ran.append(place))
    hooks.run_after_fork()
    assert ran == list(AfterFork)
    ran.clear()
    hooks.run_at_exit()
    assert ran == list(AtExit)


def test_a_hook_that_fails_does_not_stop_the_others():
    ran = []
    hooks = ProcessHooks()

    def fail():
        raise ValueError("no!")

    hooks.after_fork(AfterFork.SIGNALS, fail)
    hooks.after_fork(AfterFork.LOCKS, lambda: ran.append("locks"))
    with pytest.raises(ValueError, match="no!"):
        hooks.run_after_fork()
    assert ran == ["locks"]


PROGRAM = """
import atexit, os, sys
from ckptkit.process_hooks import AfterFork, AtExit, after_fork, at_exit

write = lambda word: os.write(1, (word + " ").encode())
at_exit(AtExit.LOCKS, lambda: write("locks"))
atexit.register(write, "library")
at_exit(AtExit.WRITERS, lambda: write("writers"))
after_fork(AfterFork.LOCKS, lambda: write("child-locks"))
after_fork(AfterFork.SIGNALS, lambda: write("child-signals"))
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_a_real_process_runs_them_at_a_fork_and_at_its_end():
    """At the exit they run before those of a library that was imported meanwhile."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["child-signals", "child-locks", "writers", "locks", "library"]


ROOMS = """
import {first}
import {second}
from ckptkit import process_hooks
from ckptkit.process_hooks import AfterFork, AtExit

assert set(process_hooks._hooks._at_exit) == set(AtExit) - {{AtExit.LAUNCHER}}
assert set(process_hooks._hooks._after_fork) == set(AfterFork) - {{AfterFork.SESSIONS}}
"""


@pytest.mark.parametrize("order", [1, -1])
def test_the_rooms_that_own_something_have_registered(order):
    """Without the sessions, whose room imports TensorFlow."""
    first, second = ["ckptkit.preemption.signals", "ckptkit.writing.background_writer"][::order]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import ckptkit.ownership.run_lock, ckptkit.mirror.mirror_session\n"
            + ROOMS.format(first=first, second=second),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
