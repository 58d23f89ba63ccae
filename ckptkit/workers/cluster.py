"""`Cluster`: the processes that train one model together, and how they exchange values.

`Alone` is a process without others. `Coordinated` is a worker of a job, on a store that all share.
"""

from __future__ import annotations

from typing import Protocol

from ckptkit.errors import CheckpointError


class WorkersLateError(CheckpointError):
    """Other workers did not reach a common point within the time limit.

    Args:
        what: the name of the point.
        late: the ranks of the workers that did not reach it.
        timeout_secs: the time limit, in seconds.
    """

    def __init__(self, what: str, late: tuple[int, ...], timeout_secs: float) -> None:
        ranks = ", ".join(map(str, late))
        super().__init__(
            f"Expected all workers at {what!r} within {timeout_secs:g} s. Received: nothing from "
            f"rank {ranks}. Look at the output of those workers."
        )
        self.late = late


class Cluster(Protocol):
    """The workers of one training, of which this process is one.

    Each call that waits has a time limit, after which it raises `WorkersLateError` with the late
    workers.
    """

    @property
    def rank(self) -> int:
        """The number of this worker, from 0. Rank 0 writes the run."""
        ...

    @property
    def size(self) -> int:
        """The number of workers."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Publish a value for all workers; a key has one value for the life of the job."""
        ...

    def claim(self, key: str, value: bytes) -> bool:
        """Publish a value if no worker has published one under this key; return whether."""
        ...

    def delete(self, key: str) -> None:
        """Free the memory of a value that everybody has read."""
        ...

    def end(self, reason: str) -> None:
        """Tell all workers that this one trains no more, so that none waits for it."""
        ...

    def get(self, key: str, timeout_secs: float) -> bytes:
        """Wait for a value that any worker publishes, and return it."""
        ...

    def listen(self, key: str) -> bytes:
        """Wait for a value without a time limit, and return it."""
        ...

    def watch(self, on: bool) -> None:
        """Say whether the silence of another worker is its loss: while all train, it is."""
        ...

    def gather(self, key: str, value: bytes, timeout_secs: float) -> list[bytes]:
        """Wait for the values of all workers, and return them by rank."""
        ...

    def barrier(self, name: str, timeout_secs: float) -> None:
        """Wait until all workers have reached this call."""
        ...


class Alone:
    """The cluster of a process that trains alone.

    Example:
        >>> from ckptkit.workers.cluster import Alone
        >>> alone = Alone()
        >>> alone.gather("loss", b"0.5", timeout_secs=1.0)
        [b'0.5']
    """

    rank = 0
    size = 1

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def put(self, key: str, value: bytes) -> None:
        """Publish a value."""
        self._values[key] = value

    def get(self, key: str, timeout_secs: float) -> bytes:
        """Return a value that was published.

        Raises:
            WorkersLateError: If it was not published, because there is no other worker to wait for.
        """
        if key not in self._values:
            raise WorkersLateError(key, (self.rank,), timeout_secs)
        return self._values[key]

    def listen(self, key: str) -> bytes:
        """Return a value that was published; see `get`."""
        return self.get(key, 0.0)

    def watch(self, on: bool) -> None:
        """Do nothing, because there are no other workers."""

    def claim(self, key: str, value: bytes) -> bool:
        """Publish a value if there is none under this key; return whether."""
        return self._values.setdefault(key, value) is value

    def delete(self, key: str) -> None:
        """Forget a value."""
        self._values.pop(key, None)

    def end(self, reason: str) -> None:
        """Do nothing, because nobody waits."""

    def gather(self, key: str, value: bytes, timeout_secs: float) -> list[bytes]:
        """Return this worker's own value."""
        return [value]

    def barrier(self, name: str, timeout_secs: float) -> None:
        """Return at once, because there are no other workers."""
