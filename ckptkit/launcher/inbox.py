"""What the supervisor waits for: signals, the end of a child, a notice; all wake one thread, so
that nothing needs a lock.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Any

FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGHUP,
    signal.SIGCONT,
)
_LEFT_IGNORED = (signal.SIGHUP, signal.SIGINT)


class Inbox:
    """Takes signals from `with` to its end, after which they are ignored, and anything that is put
    in from other threads.

    The handlers are there before a child is started: a process that is number 1 of its namespace
    ignores a signal that it does not handle, and a signal that comes in between is not lost. SIGHUP
    (`nohup`) and SIGINT (a job in the background) stay ignored where they were when this process
    began, here and in the child; the others a batch script may have ignored only until somebody
    listens.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._taken: list[signal.Signals] = []

    def __enter__(self) -> Inbox:
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (*FORWARDED, signal.SIGCHLD):
            if number not in _LEFT_IGNORED or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._arrived)
                self._taken.append(number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(-1)
        for (
            number
        ) in self._taken:  # this process ends: a signal could only take the place of its exit code
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._queue.put(signal.Signals(number))

    def put(self, thing: Any) -> None:
        """Puts something in, from any thread."""
        self._queue.put(thing)
        try:
            self._writer.send(b"\0")
        except OSError:
            return  # it is full, so it wakes; or it is closed, and nobody waits

    def wait(self, secs: float, handle: Callable[[Any], None]) -> None:
        """Waits until something is there, or so many seconds are over, and hands on what came."""
        if self._queue.empty() and self._selector.select(max(secs, 0.0)):
            while True:
                try:
                    if len(self._reader.recv(4096)) < 4096:
                        break
                except BlockingIOError:
                    break
        while True:
            try:
                thing = self._queue.get_nowait()
            except Empty:
                return
            handle(thing)


def reap(child: int) -> int | None:
    """Takes every process that has ended off the system's table, which is what number 1 is there
    for.

    Args:
        child: the one whose end matters.

    Returns:
        Its status as `os.waitpid` gives it, or None where it has not ended now.
    """
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = ended
