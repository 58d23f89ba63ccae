"""What the training prints: it appears where the launcher prints, at once, and in the log of the
run.

The training writes into named pipes that it has open for reading, too. So its writes do not fail
where the launcher is killed: it can still save.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Full, Queue

from ckptkit.log import logger

_CHUNK = 65_536
_KEPT_LINES = 200
_LONGEST_LINE = 2000
_WAITING = 1000
"""Chunks that wait for the log, or for it to be known where the log is."""


class TrainingLog:
    """The log in the run directory. It has a thread of its own: storage that is slow or away holds
    up neither the training nor the terminal.

    Args:
        most_bytes: size at which it is begun anew.
        files: how many earlier ones are kept.
    """

    def __init__(self, most_bytes: int, files: int) -> None:
        self._most_bytes, self._files = most_bytes, files
        self._queue: Queue[bytes | None] = Queue(_WAITING)
        self._left_out = 0
        self._thread: threading.Thread | None = None
        self._ended = False

    def open(self, path: Path) -> None:
        """It is known where it is to be; what was printed so far is written there."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._write, args=[path], name="ckptkit-log", daemon=True
            )
            self._thread.start()

    def add(self, data: bytes) -> None:
        """Hands on what was printed; where the log cannot keep up, the rest is left out, and it
        says how much.
        """
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
        """Writes what waits, for so long at most."""
        if self._thread is not None:
            try:
                self._queue.put(None, timeout=patience_secs)
            except Full:
                return
            self._thread.join(patience_secs)

    def _write(self, path: Path) -> None:
        try:
            if path.parent.is_symlink() or path.is_symlink():
                raise OSError("it is a symbolic link, and none is followed out of a run directory")
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = _Raw(
                path,
                maxBytes=self._most_bytes,
                backupCount=self._files,
                encoding="utf-8",
                errors="backslashreplace",
            )
        except OSError as error:
            self._give_up(path, error)
            return
        with handler.closed_at_end():
            while (data := self._queue.get()) is not None:
                try:
                    handler.emit(
                        logging.makeLogRecord({"msg": data.decode(errors="backslashreplace")})
                    )
                except OSError as error:
                    self._give_up(path, error)
                    return

    def _give_up(self, path: Path, error: OSError) -> None:
        self._ended = True
        logger.warning(
            "the output is not written to %s any more: %s. Training goes on",
            path,
            error.strerror or error,
        )


class _Raw(RotatingFileHandler):
    """Writes text as it is, and raises what goes wrong."""

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
        self._handler.close()


class Pump:
    """Passes one stream on.

    Args:
        pipe: a named pipe that does not exist yet.
        to: the descriptor to which it is passed on.
        log: which has it, too.
    """

    def __init__(self, pipe: Path, to: int, log: TrainingLog) -> None:
        os.mkfifo(pipe, 0o600)
        self._reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.end = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
        """What the child gets; `started` closes it here."""
        os.set_blocking(self._reader, True)
        self._to, self._log = to, log
        self._inside_line = False
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._thread = threading.Thread(target=self._pass_on, name="ckptkit-output", daemon=True)

    def started(self) -> None:
        """The child has its end."""
        self._thread.start()
        os.close(self.end)

    def finish(self, patience_secs: float) -> None:
        """Everybody who could write has ended: waits until all is passed on."""
        self._thread.join(patience_secs)

    def end_line(self) -> None:
        """Another process prints here next: it begins a line of its own."""
        if self._inside_line:
            self._print(b"\n")
            self._log.add(b"\n")

    def _pass_on(self) -> None:
        line = b""
        while data := os.read(self._reader, _CHUNK):
            self._print(data)
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
            except (
                BlockingIOError
            ):  # whoever shares the pipe or the terminal has made it so, and it is full
                _wait_until_writable(self._to)
            except OSError:
                self._to = (
                    -1
                )  # whoever read it has gone; the training goes on, and the log has the rest


def _wait_until_writable(descriptor: int) -> None:
    """Also returns where nobody reads any more: the next write says so."""
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    room.poll()
