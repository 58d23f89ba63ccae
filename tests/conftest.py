"""Fixtures for all tests; what they are made of is in `tests/support/`."""

from __future__ import annotations

import gc
import random
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import hypothesis
import pytest

from tests.support.processes import ForkServer, Process

hypothesis.settings.register_profile("ckptkit", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ckptkit")


def pytest_configure() -> None:
    """What the tests start hears every signal. Whoever runs the tests may ignore some, as `nohup`
    and a shell's `&` do, and all below would.
    """
    for number, heard in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, heard)


@pytest.fixture(autouse=True)
def _iterators_die_young() -> Iterator[None]:
    """Collects what a test has left behind, models with their iterators, if TensorFlow runs in
    this process.

    The end of an iterator waits for the thread that tunes its pipeline. That thread looks whether
    to go on in intervals that double up to a minute, and can miss being woken (TensorFlow 2.21:
    `CancellationManager` runs its callbacks before it is cancelled). Garbage of ten minutes ago
    would hold up some other test for one. What survives is set aside: nobody looks through it
    again.
    """
    yield
    if "keras" in sys.modules:
        gc.collect()
        gc.freeze()


class Start(Protocol):
    """Starts a process; see the method of `ForkServer` that it stands for."""

    def __call__(self, what: Any, /, *args: object, **options: Any) -> Process: ...


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """The fork server of this worker; it imports TensorFlow at the first request that needs it."""
    server = ForkServer()
    yield server
    server.close()


def _until_the_test_ends(start: Callable[..., Process]) -> Iterator[Start]:
    started: list[Process] = []

    def start_and_remember(what: Any, /, *args: object, **options: Any) -> Process:
        started.append(start(what, *args, **options))
        return started[-1]

    yield start_and_remember
    for process in started:
        if process.poll() is None:
            process.kill()


@pytest.fixture
def tf_process(fork_server: ForkServer) -> Iterator[Start]:
    """`tf_process(script, *args, env=, cwd=)`: a script, a path or a text, in a forked child that
    has imported TensorFlow.
    """
    yield from _until_the_test_ends(fork_server.run)


@pytest.fixture
def tf_call(fork_server: ForkServer) -> Iterator[Start]:
    """`tf_call("package.module:function", *args, env=, cwd=)`: a function in such a child;
    `.check().result` is what it returns.
    """
    yield from _until_the_test_ends(fork_server.call)


@pytest.fixture
def fresh_process(fork_server: ForkServer) -> Iterator[Start]:
    """`fresh_process(script, *args, env=, cwd=)`: a new Python, if that is the point."""
    yield from _until_the_test_ends(fork_server.fresh)


@pytest.fixture
def seed() -> int:
    """A new seed for each run of a test; pytest shows it if the test fails."""
    seed = random.SystemRandom().randrange(2**31)
    print(f"seed={seed}")
    return seed
