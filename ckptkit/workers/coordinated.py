"""`Coordinated`: a worker of a job, on a store of keys and values that all workers share."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from ckptkit.errors import WorkerLost
from ckptkit.threads import start_thread
from ckptkit.workers.cluster import WorkersLateError

PIECE_BYTES = 1_000_000
"""The size of a part of a value. The store accepts 4 MB in one message, and base64 adds a third."""

LOOK_SECS = 1.0
"""Seconds after which a wait looks for the first time whether another worker is lost."""

MOST_LOOK_SECS = 10.0
"""The same for the later times. TensorFlow keeps 34 kB of memory for each call that times out."""

LISTEN_SECS = 600.0
"""Seconds that a single call waits for something that may never come."""

_PATIENCE_SECS = 1.0
_PIECE_SECS = 60.0
_ENDED, _CLOSED = "ended", "closed"
_LOST = "!"
"""Begins what is put in place of an awaited value, to end the wait."""


class KeyValues(Protocol):
    """A store of texts that all workers share; see `compat.tf_coordination.CoordinationService`.

    Each method raises `ConnectionError` if the store has ended.
    """

    def put(self, key: str, value: str) -> bool: ...
    def get(self, key: str, timeout_secs: float) -> str | None: ...
    def delete(self, key: str) -> None: ...


class Coordinated:
    """The cluster of a worker of a job.

    A thread hears that another worker has ended, and ends the waits of this one. A wait also looks
    itself from time to time, because the store may have ended too.

    Args:
        rank: the number of this worker, from 0.
        size: the number of workers.
        values: the store of the job.
        prefix: begins each key. It must be new in the job and the same on all workers.
        check: called while this worker waits; it raises `WorkerLost` if another one is silent.
        on_watch: called with whether all workers train now; see `Cluster.watch`.
        monotonic: a clock in seconds.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        values: KeyValues,
        prefix: str,
        check: Callable[[], None] = lambda: None,
        on_watch: Callable[[bool], None] = lambda on: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank, self.size = rank, size
        self._values, self._prefix, self._monotonic = values, prefix, monotonic
        self._check, self._on_watch = check, on_watch
        self._guard = threading.Lock()
        self._awaited: set[str] = set()
        self._lost_reason = ""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that hears whether another worker has ended.

        Raises:
            ThreadRefusedError: If the system allows no further thread.
        """
        self._thread = start_thread(self._hear_end, "ckptkit-ended")

    def close(self) -> None:
        """Stop the thread."""
        if self._thread is not None:
            with suppress(ConnectionError):
                self._values.put(self._key(f"{_ENDED}/{self.rank}"), _CLOSED)
            self._thread.join(_PATIENCE_SECS)

    def watch(self, on: bool) -> None:
        """Say whether all workers train; see `Cluster`."""
        self._on_watch(on)

    def put(self, key: str, value: bytes) -> None:
        """Publish a value; see `Cluster`.

        Raises:
            WorkerLost: If the store has ended.
        """
        self.claim(key, value)

    def claim(self, key: str, value: bytes) -> bool:
        """Publish a value if there is none under this key; see `Cluster`.

        Raises:
            WorkerLost: If the store has ended.
        """
        pieces = [value[at : at + PIECE_BYTES] for at in range(0, len(value), PIECE_BYTES)]
        try:
            if len(pieces) > 1:
                for number, piece in enumerate(pieces):
                    self._values.put(f"{self._key(key)}/{number}", _text(piece))
                # Last, so that a reader finds every piece.
                return self._values.put(self._key(key), str(len(pieces)))
            return self._values.put(self._key(key), "=" + _text(value))
        except ConnectionError as error:
            raise self._lost(error) from error

    def get(self, key: str, timeout_secs: float) -> bytes:
        """Wait for a value; see `Cluster`.

        Raises:
            WorkersLateError: If there was none within the time limit.
            WorkerLost: If another worker has ended, or the store has.
        """
        value = self._wait(key, timeout_secs)
        if value is None:
            raise WorkersLateError(key, self._rank_in(key), timeout_secs)
        return value

    def listen(self, key: str) -> bytes:
        """Wait for a value without a time limit; see `Cluster`.

        Raises:
            WorkerLost: If another worker has ended, or the store has.
        """
        while (value := self._wait(key, LISTEN_SECS, LISTEN_SECS)) is None:
            pass
        return value

    def gather(self, key: str, value: bytes, timeout_secs: float) -> list[bytes]:
        """Wait for the values of all workers; see `Cluster`.

        Raises:
            WorkersLateError: With all workers of which there was none within the time limit.
            WorkerLost: If another worker has ended, or the store has.
        """
        self.put(f"{key}/{self.rank}", value)
        until = self._monotonic() + timeout_secs
        found = [
            value
            if rank == self.rank
            else self._wait(f"{key}/{rank}", max(until - self._monotonic(), 0.0))
            for rank in range(self.size)
        ]
        if late := tuple(rank for rank, each in enumerate(found) if each is None):
            raise WorkersLateError(key, late, timeout_secs)
        return [each for each in found if each is not None]

    def barrier(self, name: str, timeout_secs: float) -> None:
        """Wait until all workers have reached this call; see `Cluster`.

        Raises:
            WorkersLateError, WorkerLost: As `gather`.
        """
        self.gather(name, b"", timeout_secs)

    def delete(self, key: str) -> None:
        """Free the memory of a value; see `Cluster`."""
        try:
            self._values.delete(self._key(key))
        except ConnectionError as error:
            raise self._lost(error) from error

    def end(self, reason: str) -> None:
        """Tell all workers that this one trains no more; the first reason stands."""
        with suppress(ConnectionError):  # nobody is left who could read it
            for rank in range(self.size):
                told = f"worker {self.rank} has ended: {reason}"
                self._values.put(self._key(f"{_ENDED}/{rank}"), told)

    def _hear_end(self) -> None:
        ended: str | None = None
        with suppress(ConnectionError):
            while ended is None:
                ended = self._values.get(self._key(f"{_ENDED}/{self.rank}"), LISTEN_SECS)
            if ended == _CLOSED:
                return
            with self._guard:
                self._lost_reason = ended
                awaited = list(self._awaited)
            for key in awaited:
                # The job is over, so nobody needs the value itself.
                self._values.put(self._key(key), _LOST + ended)

    def _wait(self, key: str, timeout_secs: float, look_secs: float = LOOK_SECS) -> bytes | None:
        until = self._monotonic() + timeout_secs
        with self._guard:
            self._awaited.add(key)
        try:
            while True:
                left_secs = until - self._monotonic()
                self._check_lost()
                found = self._values.get(self._key(key), max(min(left_secs, look_secs), 0.01))
                if found is not None:
                    return self._joined(key, found)
                self._check_lost()
                self._check()
                if left_secs <= look_secs:
                    return None
                look_secs = min(2 * look_secs, max(MOST_LOOK_SECS, look_secs))
        except ConnectionError as error:
            raise self._lost(error) from error
        finally:
            with self._guard:
                self._awaited.discard(key)

    def _check_lost(self) -> None:
        if self._lost_reason:
            raise WorkerLost(self._lost_reason)

    def _joined(self, key: str, head: str) -> bytes:
        if head.startswith(_LOST):
            raise WorkerLost(head.removeprefix(_LOST))
        if head.startswith("="):
            return base64.b64decode(head[1:])
        found = []
        for number in range(int(head)):
            piece = self._values.get(f"{self._key(key)}/{number}", _PIECE_SECS)
            if piece is None:
                raise WorkersLateError(key, self._rank_in(key), _PIECE_SECS)
            found.append(base64.b64decode(piece))
        return b"".join(found)

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}"

    def _rank_in(self, key: str) -> tuple[int, ...]:
        """Return the worker that a key belongs to: the one it ends with, or else the first one."""
        last = key.rpartition("/")[2]
        return (int(last),) if last.isdecimal() and int(last) < self.size else (0,)

    def _lost(self, error: ConnectionError) -> WorkerLost:
        return WorkerLost(f"the workers of this job cannot be reached any more: {error}")


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
