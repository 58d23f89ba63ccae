"""What waits for storage while a training runs: a thread of its own does it, so that storage that
hangs holds up no signal and no deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Done:
    """Something is done, and what came of it is to be taken by whoever wanted it.

    Args:
        take: takes it; raises what went wrong.
    """

    def __init__(self, take: Callable[[], None]) -> None:
        self.take = take


class StorageWorker:
    """Does one thing after the other. All but the work is on the thread of whoever wants it.

    Args:
        put: hands a `Done` to that thread, from any thread.
    """

    def __init__(self, put: Callable[[Done], None]) -> None:
        self._put = put
        self._queue: SimpleQueue[tuple[Callable[[], Any], Callable[[Callable[[], Any]], None]]] = (
            SimpleQueue()
        )
        self._under_way = 0
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether something is not done, or not taken."""
        return self._under_way > 0

    def do(self, work: Callable[[], T], then: Callable[[Callable[[], T]], None]) -> None:
        """Has something done.

        Args:
            work: it.
            then: is given a function that returns what the work returned, or raises what it raised.
        """
        self._under_way += 1
        self._queue.put((work, then))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="ckptkit-storage", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            work, then = self._queue.get()
            result: Future[Any] = Future()
            try:
                result.set_result(work())
            except BaseException as error:  # raised where it is taken
                result.set_exception(error)
            self._put(Done(partial(self._take, result, then)))

    def _take(self, result: Future[Any], then: Callable[[Callable[[], Any]], None]) -> None:
        self._under_way -= 1
        then(result.result)
