"""Copies the training's output to the launcher's output and to the log in the run directory.

The training writes into named pipes that it also holds open for reading. So its writes do not fail
if the launcher is killed, and it can still save.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Full, Queue

from ckptkit.launcher.launcher_threads import start_or_warn
from ckptkit.launcher.shared_screen import SharedScreen
from ckptkit.log import logger

_CHUNK = 65_536
_KEPT_LINES = 200
_LONGEST_LINE = 2000
_WAITING = 1000
"""The number of chunks that may wait for the log, or until the run is known."""


class TrainingLog:
    """The log of a training in its run directory, written by a separate thread.

    So slow or unreachable storage delays neither the training nor the terminal.

    Args:
        most_bytes: the size of a file in bytes after which a new one begins.
        files: the number of earlier files to keep.
    """

    def __init__(self, most_bytes: int, files: int) -> None:
        self._most_bytes, self._files = most_bytes, files
        self._queue: Queue[bytes | None] = Queue(_WAITING)
        self._left_out = 0
        self._thread: threading.Thread | None = None
        self._ended = False

    def open(self, path: Path) -> None:
        """Write the log to a path, including earlier output; only the first call has an effect."""
        if self._thread is None and not self._ended:
            self._thread = start_or_warn("ckptkit-log", self._write, path)
            if self._thread is None:
                self._give_up(path, "there is no thread to write it")

    def add(self, data: bytes) -> None:
        """Queue output for the log. If the log cannot keep up, it notes how much is missing."""
        if self._ended:
            return
        try:
            if self._left_out and not self._queue.full():
                self._queue.put_nowait(
                    f"\n[ckptkit: {self._left_out:,} bytes of output are left out here]\n".encode()
                )
                self._left_out = 0
            self._queue.put_nowait(data)
        except Full:
            self._left_out += len(data)

    def close(self, patience_secs: float) -> None:
        """Write the queued output and close the log, or give up after `patience_secs`.

        If the storage is too slow, the log's thread continues until the launcher ends.
        """
        if self._thread is not None and not self._ended:
            deadline = time.monotonic() + patience_secs
            try:
                self._queue.put(None, timeout=patience_secs)
            except Full:
                return
            self._thread.join(max(deadline - time.monotonic(), 0.0))

    def _write(self, path: Path) -> None:
        try:
            if path.parent.is_symlink() or path.is_symlink():
                raise OSError(
                    "it is a symbolic link, which ckptkit does not follow out of a run directory"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = _Raw(
                path,
                maxBytes=self._most_bytes,
                backupCount=self._files,
                encoding="utf-8",
                errors="backslashreplace",
            )
        except OSError as error:
            self._give_up(path, error.strerror or str(error))
            return
        with handler.closed_at_end():
            while (data := self._queue.get()) is not None:
                try:
                    handler.emit(
                        logging.makeLogRecord({"msg": data.decode(errors="backslashreplace")})
                    )
                except OSError as error:
                    self._give_up(path, error.strerror or str(error))
                    return

    def _give_up(self, path: Path, reason: str) -> None:
        self._ended = True
        logger.warning("stopped writing the output to %s: %s. Training continues", path, reason)


class _Raw(RotatingFileHandler):
    """A log handler that writes text unchanged, and raises errors instead of printing them."""

    terminator = ""

    def handleError(self, record: logging.LogRecord) -> None:
        raise

    def closed_at_end(self) -> _Closing:
        return _Closing(self)


class _Closing:
    def __init__(self, handler: _Raw) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        # `close` flushes, so a disk that has just refused the data raises again.
        with suppress(OSError):
            self._handler.close()


class Pump:
    """A thread that copies one output stream of the training.

    Args:
        pipe: the path of the named pipe to create.
        to: the descriptor to copy the output to; -1 for none.
        log: receives the output too.
        screen: is shared by the streams that are shown at the same place.

    Raises:
        OSError: If the system refuses the pipe or the thread; nothing stays open then.
    """

    def __init__(
        self, pipe: Path, to: int, log: TrainingLog, screen: SharedScreen | None = None
    ) -> None:
        os.mkfifo(pipe, 0o600)
        # Non-blocking, or `open` would wait for a writer.
        self._reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.end = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
            """The child's end of the pipe; `close_end` closes it here."""
        except OSError:
            os.close(self._reader)
            raise
        os.set_blocking(self._reader, True)
        self._to, self._log = to, log
        self._screen = SharedScreen() if screen is None else screen
        self._inside_line = False
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        # Started before the child: a child without a reader would hang in its next `print`.
        self._thread = start_or_warn("ckptkit-output", self._copy)
        if self._thread is None:
            os.close(self._reader)
            os.close(self.end)
            raise OSError(errno.EAGAIN, "no further thread can be started to read its output")

    def close_end(self) -> None:
        """Close the launcher's copy of the child's end, so that the output can end."""
        if self.end >= 0:
            os.close(self.end)
            self.end = -1

    def finish(self, patience_secs: float) -> None:
        """Wait until all output is copied; call it after all processes that write have ended."""
        if self._thread is not None:
            self._thread.join(patience_secs)

    def end_line(self) -> None:
        """End a line that the training has left unfinished, before another process prints."""
        if self._inside_line:
            self._screen.show(self, b"\n", self._print)
            self._log.add(b"\n")

    def _copy(self) -> None:
        line = b""
        while data := os.read(self._reader, _CHUNK):
            self._screen.show(self, data, self._print)
            self._log.add(data)
            *lines, line = (line + data).split(b"\n")
            self.last_lines.extend(
                each[-_LONGEST_LINE:].decode(errors="backslashreplace").rstrip("\r")
                for each in lines
            )
            line = line[-_LONGEST_LINE:]
        self._inside_line = bool(line)
        if line:
            self.last_lines.append(line.decode(errors="backslashreplace"))
        os.close(self._reader)

    def _print(self, data: bytes) -> None:
        while data and self._to >= 0:
            try:
                data = data[os.write(self._to, data) :]
            except BlockingIOError:
                # The output is a full pipe that another process has made non-blocking.
                _wait_until_writable(self._to)
            except OSError:
                # The reader has gone. The training continues, and the log receives the rest.
                self._to = -1


def _wait_until_writable(descriptor: int) -> None:
    """Wait until a descriptor can be written; if its reader has gone, the next write fails."""
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    room.poll()
