"""The run's own event files, in `<run>/tensorboard/`: what its saves cost, and how it stands.

They are written on a thread of their own, so that neither training nor a save ever waits for them; what cannot be written is said once.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from ckptkit.clock import Clock
from ckptkit.log import logger
from ckptkit.store.files import FileSystem
from ckptkit.store.journal import Journal
from ckptkit.store.layout import RunLayout
from ckptkit.store.tidying import tidying
from ckptkit.tensorboard.event_files import READ, beginning, record

_END_SECS = 2.0
"""How long the end of an attempt waits for the last points: storage that is cut off never answers."""


@dataclass(frozen=True, kw_only=True)
class SaveTold:
    """A save that was committed.

    Args:
        step: of the checkpoint.
        saved_at: when its snapshot was taken, in seconds since the epoch.
        size_bytes: its size on the disk.
        stall_secs: how long training stood still.
        write_secs: how long it took to be written.
    """

    step: int
    saved_at: float
    size_bytes: int
    stall_secs: float
    write_secs: float


class Board:
    """Writes them, from the first save on.

    Args:
        files: how to change the disk.
        layout: the run.
        clock: where the time comes from.
        journal: of the attempt.
    """

    def __init__(self, files: FileSystem, layout: RunLayout, clock: Clock, journal: Journal) -> None:
        self._files, self._layout, self._clock, self._journal = files, layout, clock, journal
        self._waiting: queue.SimpleQueue[SaveTold | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._path: Path | None = None
        self._last: SaveTold | None = None
        self._process = psutil.Process()

    def saved(self, save: SaveTold) -> None:
        """A checkpoint was committed; returns at once."""
        self._waiting.put(save)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="ckptkit-tensorboard", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no further thread, or the interpreter is on its way out
                logger.debug("the run's own points for TensorBoard are not written: %s", error)

    def end(self) -> None:
        """Waits for the last points, for a moment."""
        if self._thread is not None and self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(_END_SECS)

    def _work(self) -> None:
        while (save := self._waiting.get()) is not None:
            try:
                with tidying(self._journal, "write the run's own points for TensorBoard"):
                    self._write(save)
            except Exception as error:  # whatever it is: nobody waits for these points
                logger.debug("the run's own points for TensorBoard end here: %s", error)
                return

    def _write(self, save: SaveTold) -> None:
        data = _point(save.step, save.saved_at, self._values(save))  # by that time it stays where the run goes on from this save
        self._last = save
        if self._path is not None:
            self._files.append(self._path, data)
            return
        self._files.make_dir(self._layout.tensorboard)
        now = self._clock.now()
        path = self._layout.tensorboard / f"{READ}{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{self._journal.attempt}.ckptkit"
        self._files.create(path, beginning(now) + data)
        self._path = path

    def _values(self, save: SaveTold) -> Mapping[str, float]:
        values = {"save/stall_secs": save.stall_secs, "save/write_secs": save.write_secs, "save/size_bytes": float(save.size_bytes)}
        if self._last is not None:
            values["save/interval_secs"] = save.saved_at - self._last.saved_at
        if (free := self._files.free_bytes(self._layout.root)) is not None:
            values["disk/free_bytes"] = float(free)
        try:
            values["memory/process_bytes"] = float(self._process.memory_info().rss)
            machine = psutil.virtual_memory()
            values["memory/host_used_bytes"], values["memory/host_free_bytes"] = float(machine.total - machine.available), float(machine.available)
        except psutil.Error as error:
            logger.debug("memory is not measured: %s", error)
        return values


def _point(step: int, now: float, values: Mapping[str, float]) -> bytes:
    """One point of several scalars, as a record."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    parts = [scalar_pb(name, value) for name, value in values.items()]
    return record(Event(wall_time=now, step=step, summary=Summary(value=[value for part in parts for value in part.value])))
