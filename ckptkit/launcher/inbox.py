"""The queue of signals, ended children and messages that the supervisor handles on one thread."""

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
    """Receives signals inside its `with` block, and messages from other threads.

    The handlers are installed before a child starts. Process 1 of a namespace ignores signals that
    it does not handle, and no signal may be lost in between. SIGHUP (`nohup`) and SIGINT (a
    background job) stay ignored, here and in the child, if they were ignored when this process
    began. All other signals are handled, even if a batch script ignored them.
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
        # Ignored, not restored: this process is about to end, and a signal would change its exit
        # code.
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
            return  # the pipe is full, so its reader wakes anyway; or it is closed

    def wait(self, secs: float, handle: Callable[[Any], None]) -> None:
        """Wait at most `secs` for a message, and pass all that have arrived to `handle`."""
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
    """Collect the exit status of all ended children, including adopted orphans.

    Args:
        child: the process whose status is wanted.

    Returns:
        The status of that child as from `os.waitpid`; None if it has not ended.
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
