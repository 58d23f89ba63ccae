"""What a training prints, where the launcher's own output is a pipe that does not block: whoever
shares it has made it so, as runners on node do.
"""

from __future__ import annotations

import array
import fcntl
import os
import termios
import time
from collections.abc import Iterator

import pytest

LINES = 40_000


def printed(lines: int) -> str:
    return "".join(f"{number:09}\n" for number in range(lines))


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """Its reader, and its writer, which does not block."""
    ends = list(os.pipe())
    os.set_blocking(ends[1], False)
    yield ends
    for end in ends:
        os.close(end)


def is_full(reader: int) -> bool:
    """Whether there is something in it, and nothing is added any more."""

    def waiting() -> int:
        count = array.array("i", [0])
        fcntl.ioctl(reader, termios.FIONREAD, count)
        return count[0]

    before = waiting()
    time.sleep(0.3)
    return 0 < before == waiting()


def test_a_burst_that_fills_it_is_passed_on_as_it_is_read(launch, pipe):
    launched = launch("open", "step", f"burst:{LINES}", "print:last", stdout=pipe[1])
    os.close(pipe.pop())
    launched.until(lambda: is_full(pipe[0]))
    received = b""
    while data := os.read(pipe[0], 4096):
        received += data
        time.sleep(0.001)
    assert launched.wait() == 0
    assert received.decode() == printed(LINES) + "last\n"
    assert (launched.run / "log" / "training.log").read_text() == received.decode()


def test_where_the_reader_goes_while_it_is_full_the_training_goes_on(launch, pipe):
    launched = launch("open", "step", f"burst:{LINES}", "print:last", stdout=pipe[1])
    os.close(pipe.pop())
    launched.until(lambda: is_full(pipe[0]))
    assert launched.process.poll() is None
    os.close(pipe.pop())
    assert launched.wait() == 0
    assert (launched.run / "log" / "training.log").read_text() == printed(LINES) + "last\n"
