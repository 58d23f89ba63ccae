"""What the training thread spends its time on, for the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Kind = Literal["preparing", "drawing_again", "restoring", "first_step", "training", "evaluating", "data", "saving", "exporting", "outside"]
"""`preparing` from opening the run to the first step; `drawing_again`: batches that were done before; `first_step`: it, with tracing and compiling;
`training`: all further steps, and the callbacks and the program's own work between them; `evaluating`: in `fit`; `data`: waiting for
`manager.data`; `saving`: standing still for saves; `outside` of all loops."""


class Spent:
    """A stopwatch with one hand for each kind of work, of which one moves at a time. Only the thread that made it moves them; any may read.

    Args:
        monotonic: where the time comes from.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._secs: dict[Kind, float] = {}
        self._kind: Kind = "preparing"
        self._since = monotonic()

    def on(self, kind: Kind) -> None:
        """From now on the time goes there."""
        if threading.get_ident() == self._thread and kind != self._kind:
            with self._lock:
                now = self._monotonic()
                self._secs[self._kind] = self._secs.get(self._kind, 0.0) + now - self._since
                self._kind, self._since = kind, now

    @contextmanager
    def during(self, kind: Kind) -> Iterator[None]:
        """The time of the block goes there."""
        before = self._kind
        self.on(kind)
        try:
            yield
        finally:
            self.on(before)

    @property
    def secs(self) -> dict[str, float]:
        """Seconds by kind, up to now."""
        with self._lock:
            now = self._monotonic()
            found = dict(self._secs)
            found[self._kind] = found.get(self._kind, 0.0) + now - self._since
        return {str(kind): round(secs, 6) for kind, secs in found.items()}
