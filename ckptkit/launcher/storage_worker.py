"""Runs all work that waits for storage on a thread of its own.

So storage that hangs delays no signal and no deadline of the training.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from ckptkit.launcher.launcher_threads import start_or_warn

T = TypeVar("T")
_Job = tuple[Callable[[], Any], Callable[[Callable[[], Any]], None]]


class StorageResult:
    """The message that a piece of work is done.

    Args:
        deliver: passes the result to the code that submitted the work; call it on the main thread.
    """

    def __init__(self, deliver: Callable[[], None]) -> None:
        self.deliver = deliver


class StorageWorker:
    """Runs submitted work in order on its thread, and sends each result to the main thread.

    Args:
        put: sends a `StorageResult` to the main thread; it is called on the worker's thread.
    """

    def __init__(self, put: Callable[[StorageResult], None]) -> None:
        self._put = put
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._pending = 0
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether some work is not done, or its result is not delivered yet."""
        return self._pending > 0

    def submit(self, work: Callable[[], T], then: Callable[[Callable[[], T]], None]) -> None:
        """Queue a piece of work; call this on the main thread only.

        Args:
            work: runs on the worker's thread.
            then: runs on the main thread. Its argument is a function that returns or raises what
                the work returned or raised.
        """
        self._pending += 1
        self._queue.put((work, then))
        if self._thread is None:
            self._thread = start_or_warn("ckptkit-storage", self._work)
        if self._thread is None:
            # No thread: run here, because a start waits until the worker is idle, and would wait
            # for ever.
            while not self._queue.empty():
                self._work_once()

    def _work(self) -> None:
        while True:
            self._work_once()

    def _work_once(self) -> None:
        work, then = self._queue.get()
        result: Future[Any] = Future()
        try:
            result.set_result(work())
        except BaseException as error:  # raised by the code that uses the result
            result.set_exception(error)
        self._put(StorageResult(partial(self._deliver, result, then)))

    def _deliver(self, result: Future[Any], then: Callable[[Callable[[], Any]], None]) -> None:
        self._pending -= 1
        then(result.result)
