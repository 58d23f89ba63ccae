"""The run's own event files, in `<run>/tensorboard/`: what its saves cost, how it stands, and its
history.

They are written on a thread of their own, so that neither training nor a save ever waits for them;
what cannot be written is said once.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from ckptkit.clock import Clock
from ckptkit.errors import CheckpointError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.report.goodput import Goodput, goodput_of
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.run.journal import Journal, read_journal
from ckptkit.storage.files import FileSystem
from ckptkit.tensorboard.event_files import READ, beginning, scalars, text
from ckptkit.tensorboard.history_text import history

_END_SECS = 2.0
"""How long the end of an attempt waits for the last points: storage that is cut off never answers.
"""

_SHARE = 0.01
"""What part of the time the history and goodput may take, which are reckoned from the whole
journal.
"""

_HISTORY = ".history"


@dataclass(frozen=True, kw_only=True)
class SaveSummary:
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


class RunEvents:
    """Writes them, from the first save on.

    Args:
        files: how to change the disk.
        layout: the run.
        clock: where the time comes from.
        journal: of the attempt.
    """

    def __init__(
        self, files: FileSystem, layout: RunLayout, clock: Clock, journal: Journal
    ) -> None:
        self._files, self._layout, self._clock, self._journal = files, layout, clock, journal
        self._waiting: queue.SimpleQueue[SaveSummary | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._path: Path | None = None
        self._last: SaveSummary | None = None
        self._again_at = 0.0

    # -- on other threads

    def saved(self, save: SaveSummary) -> None:
        """A checkpoint was committed; returns at once."""
        self._waiting.put(save)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="ckptkit-tensorboard", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError as error:  # no further thread, or the interpreter is on its way out
                logger.debug("the run's own points for TensorBoard are not written: %s", error)

    def end(self) -> None:
        """The attempt has told all it had to tell: waits for the last points, for a moment."""
        if self._thread is not None and self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(_END_SECS)

    # -- on its own thread

    def _work(self) -> None:
        try:
            while (save := self._waiting.get()) is not None:
                self._point(save)
            if self._last is not None:
                self._tell_history(self._last.step)
        except StorageError as error:
            logger.warning(
                "no further points of the run's own for TensorBoard in %s; training and "
                "checkpoints are not affected: %s",
                self._layout.tensorboard,
                error,
            )
        except CheckpointError as error:
            logger.debug("the run is another process's now: %s", error)
        except (
            Exception
        ) as error:  # whatever it is: nobody waits for these points, and nobody would see it here
            logger.warning(
                "no further points of the run's own for TensorBoard: %s: %s",
                type(error).__name__,
                error,
            )

    def _point(self, save: SaveSummary) -> None:
        values = {
            "save/stall_secs": save.stall_secs,
            "save/write_secs": save.write_secs,
            "save/size_bytes": float(save.size_bytes),
        }
        if self._last is not None:
            values["save/interval_secs"] = save.saved_at - self._last.saved_at
        self._last = save
        if (free := self._files.free_bytes(self._layout.root)) is not None:
            values["disk/free_bytes"] = float(free)
        values |= self._memory()
        if time.monotonic() >= self._again_at:
            goodput = self._tell_history(save.step)
            if goodput is not None and goodput.ratio is not None:
                values["goodput"] = goodput.ratio
        self._write(
            scalars(save.step, save.saved_at, values)
        )  # by that time it stays where the run goes on from this save

    def _memory(self) -> Mapping[str, float]:
        try:
            machine = psutil.virtual_memory()
            return {
                "memory/process_bytes": float(psutil.Process().memory_info().rss),
                "memory/host_free_bytes": float(machine.available),
                "memory/host_used_bytes": float(machine.total - machine.available),
            }
        except psutil.Error as error:
            logger.debug("memory is not measured: %s", error)
            return {}

    def _write(self, data: bytes) -> None:
        if self._path is not None:
            self._files.append(self._path, data)
            return
        self._files.make_dir(self._layout.tensorboard)
        now = self._clock.now()
        path = (
            self._layout.tensorboard
            / f"{READ}{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{self._journal.attempt}.ckptkit"
        )
        self._files.create(path, beginning(now) + data)
        self._path = path

    def _tell_history(self, step: int) -> Goodput | None:
        """Writes the history anew, whole: a new file, and then the one of before goes."""
        began, now = time.monotonic(), self._clock.now()
        ledger = ledger_of(read_journal(self._layout).events, now)
        goodput = goodput_of(ledger)
        directory = self._layout.tensorboard / "history"
        self._files.make_dir(directory)
        old = [path for path in directory.iterdir() if path.name.endswith(_HISTORY)]
        number = max((int(path.name.split(".")[-2]) for path in old), default=0) + 1
        self._files.create(
            directory / f"{READ}{number:010d}{_HISTORY}",
            beginning(now) + text(step, now, "history", history(ledger, goodput)),
        )
        for path in old:
            self._files.remove_file(path)
        self._again_at = time.monotonic() + (time.monotonic() - began) / _SHARE
        return goodput
