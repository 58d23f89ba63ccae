"""`Coordinated`: a worker of a job, on a store of keys and values that all workers share."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Protocol

from ckptkit.errors import WorkerLost
from ckptkit.workers.cluster import WorkersLateError

PIECE_BYTES = 1_000_000
"""The size of a part of a value. The store accepts 4 MB in one message, and base64 adds a third."""

LOOK_SECS = 1.0
"""Seconds after which a wait looks whether another worker has ended."""

_ENDED = "ended"
_GLANCE_SECS = 0.001


class KeyValues(Protocol):
    """A store of texts that all workers share; see `compat.tf_coordination.CoordinationService`.

    Each method raises `ConnectionError` if the store has ended.
    """

    def put(self, key: str, value: str) -> bool: ...
    def get(self, key: str, timeout_secs: float) -> str | None: ...
    def delete(self, key: str) -> None: ...


class Coordinated:
    """The cluster of a worker of a job.

    Waits are short calls one after the other. So a wait ends when another worker ends, whatever the
    store itself does then.

    Args:
        rank: the number of this worker, from 0.
        size: the number of workers.
        values: the store of the job.
        prefix: begins each key. It must be new in the job and the same on all workers.
        check: called while this worker waits; it raises `WorkerLost` if another one is silent.
        monotonic: a clock in seconds.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        values: KeyValues,
        prefix: str,
        check: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank, self.size = rank, size
        self._values, self._prefix, self._monotonic = values, prefix, monotonic
        self._check = check

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
        try:
            self._values.put(self._key(_ENDED), f"worker {self.rank} has ended: {reason}")
        except ConnectionError:
            return  # nobody is left who could read it

    def _wait(self, key: str, timeout_secs: float) -> bytes | None:
        until = self._monotonic() + timeout_secs
        try:
            while True:
                left_secs = until - self._monotonic()
                found = self._values.get(self._key(key), max(min(left_secs, LOOK_SECS), 0.01))
                if found is not None:
                    return self._joined(key, found)
                ended = self._values.get(self._key(_ENDED), _GLANCE_SECS)
                if ended is not None:
                    raise WorkerLost(ended)
                self._check()
                if left_secs <= 0:
                    return None
        except ConnectionError as error:
            raise self._lost(error) from error

    def _joined(self, key: str, head: str) -> bytes:
        if head.startswith("="):
            return base64.b64decode(head[1:])
        found = []
        for number in range(int(head)):
            piece = self._values.get(f"{self._key(key)}/{number}", LOOK_SECS)
            if piece is None:
                raise WorkersLateError(key, self._rank_in(key), LOOK_SECS)
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
