"""Writes the run's own event files in `<run>/tensorboard/`: save costs, goodput and history.

A separate thread writes them, so that neither training nor a save waits. After an error, which is
logged once, nothing more is written.
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
from ckptkit.errors import CheckpointError, StorageError, ThreadRefusedError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.report.goodput import Goodput, goodput_of
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.run.journal import Journal
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.manifest import ManifestHead
from ckptkit.storage.files import FileSystem
from ckptkit.storage.symlinks import leads_out
from ckptkit.tensorboard.event_files import (
    EVENT_FILE_PREFIX,
    scalars_record,
    text_record,
    version_record,
)
from ckptkit.tensorboard.history_markdown import history_markdown
from ckptkit.threads import start_thread

_END_SECS = 2.0
"""Seconds that the end of an attempt waits for the last points, because storage may never
answer."""

_SHARE = 0.01
"""The share of the time that history and goodput may take; both need the whole journal."""

_HISTORY = ".history"


@dataclass(frozen=True, kw_only=True)
class SaveSummary:
    """The figures of a committed save.

    Args:
        step: the step of the checkpoint.
        saved_at: when its snapshot was taken, in seconds since the epoch.
        size_bytes: the size of the files that it does not share with an earlier checkpoint.
        stall_secs: how long training stopped, in seconds.
        write_secs: how long the write took, in seconds.
    """

    step: int
    saved_at: float
    size_bytes: int
    stall_secs: float
    write_secs: float


class RunSummaries:
    """Writes the run's own event files, from the first save on.

    Args:
        files: changes the disk.
        layout: the paths of the run.
        clock: the clock.
        journal: the journal of the attempt.
    """

    def __init__(
        self, files: FileSystem, layout: RunLayout, clock: Clock, journal: Journal
    ) -> None:
        self._files, self._layout, self._clock, self._journal = files, layout, clock, journal
        self._waiting: queue.SimpleQueue[SaveSummary | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._path: Path | None = None
        self._last: SaveSummary | None = None
        self._next_history_at = 0.0
        self._history: Path | None = None

    # -- on other threads

    def saved(
        self, manifest: ManifestHead, new_bytes: int, stall_secs: float, write_secs: float
    ) -> None:
        """Queue the points of a committed checkpoint; returns at once.

        Args:
            manifest: of the checkpoint.
            new_bytes: the size of the files that it does not share with earlier checkpoints.
            stall_secs: how long training stopped.
            write_secs: how long it took to write.
        """
        self._waiting.put(
            SaveSummary(
                step=manifest.step,
                saved_at=manifest.saved_at,
                size_bytes=new_bytes,
                stall_secs=stall_secs,
                write_secs=write_secs,
            )
        )
        if self._thread is None:
            # A daemon thread, so that an exit waits for points no longer than `end` does.
            try:
                self._thread = start_thread(self._work, "ckptkit-tensorboard")
            # The points stay in the queue, and the next save tries again.
            except ThreadRefusedError as error:
                logger.debug("the run's own points for TensorBoard have to wait: %s", error)

    def end(self) -> None:
        """Wait at most two seconds for the last points at the end of an attempt."""
        if self._thread is not None and self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(_END_SECS)

    # -- on its own thread

    def _work(self) -> None:
        """Write points until the attempt ends, and then the history."""
        try:
            while (save := self._waiting.get()) is not None:
                self._write_point(save)
            if self._last is not None:
                self._write_history(self._last.step)
        except StorageError as error:
            logger.warning(
                "no further TensorBoard points about this run are written into %s; training and "
                "checkpoints are not affected: %s",
                self._layout.tensorboard,
                error,
            )
        except CheckpointError as error:
            logger.debug("another process owns the run now: %s", error)
        except Exception as error:  # an exception of this thread would be lost
            logger.warning(
                "no further TensorBoard points about this run are written: %s: %s",
                type(error).__name__,
                error,
            )

    def _write_point(self, save: SaveSummary) -> None:
        """Write the figures of one save, with the state of disk and memory."""
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
        if time.monotonic() >= self._next_history_at:
            goodput = self._write_history(save.step)
            if goodput is not None and goodput.ratio is not None:
                values["goodput"] = goodput.ratio
        # With the time of the snapshot, so that the point is not stale if the run resumes from this
        # save.
        self._write(scalars_record(save.step, save.saved_at, values))

    def _memory(self) -> Mapping[str, float]:
        """Return the memory of the process and of the machine; empty if unknown."""
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
        """Append a record to the run's own event file, which the first record creates."""
        if self._path is not None:
            self._files.append(self._path, data)
            return
        self._files.make_dir(self._layout.tensorboard)
        now = self._clock.now()
        writer = f"{socket.gethostname()}.{os.getpid()}.{self._journal.attempt}.ckptkit"
        path = self._layout.tensorboard / f"{EVENT_FILE_PREFIX}{int(now):010d}.{writer}"
        self._files.create(path, version_record(now) + data)
        self._path = path

    def _write_history(self, step: int) -> Goodput | None:
        """Write the whole history to a new file, and remove the previous one."""
        began, now = time.monotonic(), self._clock.now()
        ledger = ledger_of(read_journal(self._layout).events, now)
        goodput = goodput_of(ledger)
        directory = self._layout.tensorboard / "history"
        self._files.make_dir(directory)
        old = [path for path in directory.iterdir() if path.name.endswith(_HISTORY)]
        number = max((int(path.name.split(".")[-2]) for path in old), default=0) + 1
        path = directory / f"{EVENT_FILE_PREFIX}{number:010d}{_HISTORY}"
        self._files.create(
            path,
            version_record(now)
            + text_record(step, now, "history", history_markdown(ledger, goodput)),
        )
        # Behind a link out of the run, the other files may belong to another run.
        if leads_out(self._layout.root, directory):
            old = [self._history] if self._history is not None else []
        # Removed afterwards, so that a history always exists; TensorBoard shows the newest one.
        for each in old:
            self._files.remove_file(each)
        self._history = path
        self._next_history_at = time.monotonic() + (time.monotonic() - began) / _SHARE
        return goodput
