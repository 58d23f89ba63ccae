"""Signs of life of the workers of a job.

A killed process is soon noticed by TensorFlow. A process that is stopped, or cut off from the
network, is not always: an operation that waits for it never ends, and neither does a call to a
store in it. So each worker counts up a value every few seconds, and a thread of each watches.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ckptkit.errors import WorkerLost
from ckptkit.exit_codes import ExitCode
from ckptkit.log import logger
from ckptkit.threads import start_thread
from ckptkit.workers.coordinated import KeyValues

BEAT_SECS = 5.0
"""Seconds between two signs of life."""

SILENCE_SECS = 30.0
"""Seconds without a sign of life after which a worker is lost."""

LEAVE_SECS = 60.0
"""Seconds that the training has to end by itself after that, before the process is ended.

A training thread inside of an operation that waits for the lost worker cannot be reached otherwise.
"""

_ANSWER_SECS = 2.0
"""Seconds within which the store answers: it may be on the other side of a network."""

_LOOK_SECS = 1.0
_SUSPENDED_SECS = 5.0
"""Seconds between two looks after which this process itself was suspended."""

_PATIENCE_SECS = 3.0
_LEFT = "left"


def _end_process() -> None:
    os._exit(ExitCode.WORKER_LOST)


class Pulse:
    """Gives signs of life, and ends a process whose job has lost a worker.

    Args:
        rank, size, values, prefix: as for `Coordinated`.
        monotonic: a clock in seconds.
        end_process: ends this process at once.

    Attributes:
        lost: which worker was lost, in words; empty while all live.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        values: KeyValues,
        prefix: str,
        monotonic: Callable[[], float] = time.monotonic,
        end_process: Callable[[], None] = _end_process,
    ) -> None:
        self._rank, self._values, self._prefix = rank, values, prefix
        self._monotonic, self._end_process = monotonic, end_process
        # The first worker watches all others, and these watch the first one, which has the store.
        self._watched = set(range(1, size) if rank == 0 else range(1))
        self._last: dict[int, str] = {}
        # Empty at first: a worker may prepare its data for minutes before it opens the run.
        self._seen: dict[int, float] = {}
        self._beats = 0
        self._is_watching = True
        self._looked_at: float | None = None
        self._lost_at: float | None = None
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.lost = ""

    def start(self) -> None:
        """Start the threads.

        Raises:
            ThreadRefusedError: If the system allows no further thread; call `close` in this case
                too.
        """
        # Two threads, because a call to the store of a stopped process does not return.
        self._threads.append(start_thread(self._beat_on, "ckptkit-pulse"))
        self._threads.append(start_thread(self._watch_on, "ckptkit-watch"))

    def close(self) -> None:
        """Stop the threads; the last sign tells the others that this worker has left."""
        self._over.set()
        for thread in self._threads:
            thread.join(_PATIENCE_SECS)

    def watch_all(self, on: bool) -> None:
        """Watch all workers from now on, because all have just been heard; or watch none.

        After training each worker may do something else for a long time, such as an export.
        """
        self._is_watching = on
        self._seen = dict.fromkeys(self._watched, self._monotonic())

    def beat(self) -> None:
        """Give a sign of life, and note those of others."""
        self._beats += 1
        try:
            self._say(str(self._beats))
            for rank in sorted(self._watched):
                value = self._values.get(self._key(rank), _ANSWER_SECS)
                if value == _LEFT:
                    # A worker that has left in order is not lost.
                    self._watched.discard(rank)
                    self._seen.pop(rank, None)
                elif value is not None and value != self._last.get(rank):
                    self._last[rank], self._seen[rank] = value, self._monotonic()
        except ConnectionError as error:
            logger.debug("no sign of life could be given: %s", error)

    def watch(self) -> None:
        """Note who is lost, and end the process if the training does not end by itself."""
        now, before = self._monotonic(), self._looked_at
        self._looked_at = now
        if before is not None and now - before > _SUSPENDED_SECS and self._lost_at is None:
            # This process has been suspended, and has not looked for the signs of others.
            self._seen = dict.fromkeys(self._seen, now)
        if self._lost_at is None:
            seen = self._seen.copy() if self._is_watching else {}
            silent = [rank for rank, at in seen.items() if now - at > SILENCE_SECS]
            if silent:
                self._lost_at = now
                self.lost = f"worker {silent[0]} has given no sign of life for {SILENCE_SECS:g} s"
                logger.error("%s: this process ends soon, to be started again", self.lost)
        elif now - self._lost_at > LEAVE_SECS:
            logger.error("%s, and the training has not ended by itself: ending now", self.lost)
            self._end_process()

    def check(self) -> None:
        """Check that no worker is lost.

        Raises:
            WorkerLost: If one is.
        """
        if self.lost:
            raise WorkerLost(self.lost)

    def _beat_on(self) -> None:
        while not self._over.wait(BEAT_SECS):
            self.beat()
        with suppress(ConnectionError):
            self._say(_LEFT)

    def _watch_on(self) -> None:
        while not self._over.wait(_LOOK_SECS):
            self.watch()

    def _say(self, value: str) -> None:
        # A key can be written once, so it is deleted first. For a moment there is none.
        self._values.delete(self._key(self._rank))
        self._values.put(self._key(self._rank), value)

    def _key(self, rank: int) -> str:
        return f"{self._prefix}/alive/{rank}"
