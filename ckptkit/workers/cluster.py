"""The processes that train one model together: who this one is, and how they talk.

There is one implementation today, `Alone`. A backend that joins several processes implements
`Cluster`, and nothing above this room changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol

from ckptkit.errors import CheckpointError, ConfigError

_TRAINING = ("chief", "master", "worker", "ps")


class WorkersLateError(CheckpointError):
    """Other workers have not come to a common point within its time limit.

    Args:
        what: the point.
        late: the ranks that have not come.
        timeout_secs: the limit, in seconds.
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

    Each call that waits has a time limit, and raises `WorkersLateError`, which names who is late.
    """

    @property
    def rank(self) -> int:
        """The number of this worker, from 0. Rank 0 writes the run."""
        ...

    @property
    def size(self) -> int:
        """How many workers there are."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Publish a value, for all workers."""
        ...

    def get(self, key: str, timeout_secs: float) -> bytes:
        """Return a value that some worker publishes, as soon as it has."""
        ...

    def gather(self, key: str, value: bytes, timeout_secs: float) -> list[bytes]:
        """Return the values of all workers, by rank, as soon as each has given its own."""
        ...

    def barrier(self, name: str, timeout_secs: float) -> None:
        """Return as soon as all workers have come here."""
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
            WorkersLateError: At once if it was not: nobody else will do it.
        """
        if key not in self._values:
            raise WorkersLateError(key, (self.rank,), timeout_secs)
        return self._values[key]

    def gather(self, key: str, value: bytes, timeout_secs: float) -> list[bytes]:
        """Return this worker's own value."""
        return [value]

    def barrier(self, name: str, timeout_secs: float) -> None:
        """Return at once: nobody else is waited for."""


def check_one_worker(environment: Mapping[str, str]) -> None:
    """Check that this process is not one of several that train a model together.

    Args:
        environment: the environment of the process; TensorFlow's `TF_CONFIG` names the others.

    Raises:
        ConfigError: If it is one of several.
    """
    try:
        cluster = json.loads(environment.get("TF_CONFIG") or "{}").get("cluster") or {}
        count = sum(len(cluster.get(kind, ())) for kind in _TRAINING)
    except (ValueError, AttributeError, TypeError):
        return  # TensorFlow itself reports what is wrong with it
    if count > 1:
        raise ConfigError(
            f"TF_CONFIG names {count} processes that train together, which is not supported yet: "
            "one process writes a run. Train in "
            f"one process, or without ckptkit, until it is."
        )
