"""Queue of everything that the supervisor waits for, handled on one thread without locks."""

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
    """Takes signals inside its `with` block, and messages from other threads.

    The handlers are installed before a child is started. Process 1 of a namespace ignores signals
    that it does not handle, and a signal that comes in between must not be lost. SIGHUP (`nohup`)
    and SIGINT (a job in the background) stay ignored if they were when this process began, here and
    in the child. The others are handled: a batch script may ignore them only until now.
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
        # Ignored, not restored: this process ends, and a signal would replace its exit code.
        for number in self._taken:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._queue.put(signal.Signals(number))

    def put(self, message: Any) -> None:
        """Add a message, from any thread."""
        self._queue.put(message)
        try:
            self._writer.send(b"\0")
        except OSError:
            return  # it is full, so it wakes the reader anyway; or it is closed, and nobody waits

    def wait(self, secs: float, handle: Callable[[Any], None]) -> None:
        """Wait for a message, for at most `secs`, and pass all that have come to `handle`."""
        if self._queue.empty() and self._selector.select(max(secs, 0.0)):
            while True:
                try:
                    if len(self._reader.recv(4096)) < 4096:
                        break
                except BlockingIOError:
                    break
        while True:
            try:
                message = self._queue.get_nowait()
            except Empty:
                return
            handle(message)


def reap(child: int) -> int | None:
    """Reap all children that have ended, adopted orphans included, as process 1 has to.

    Args:
        child: number of the process whose status is wanted.

    Returns:
        Its status as `os.waitpid` gives it, or None if it has not ended now.
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
