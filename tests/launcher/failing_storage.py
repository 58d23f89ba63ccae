"""Runs launchers, one after the other, over storage on which one operation fails.

failing_storage.py DIRECTORY OPERATION ERRNO... -- RUN-OPTION-OR-EMPTY WORD...

Each launcher has a run of its own, `DIRECTORY/ERRNO`, and starts `child.py` with the words. From
when the training waits for the file `go` on, the operation fails with this error for every path in
the run directory; then the training may continue. One line of JSON for each launcher says how it
ended.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import json
import logging
import os
import sys
import threading
from pathlib import Path

from ckptkit.launcher.launcher_settings import Settings
from ckptkit.launcher.supervisor import Supervisor

PLACES = {
    "open": [(io, "open"), (builtins, "open"), (os, "open")],
    "flock": [(fcntl, "flock")],
    **{name: [(os, name)] for name in ("stat", "lstat", "listdir", "mkdir", "fsync")},
}
"""Where Python finds each operation."""

really_stat, really_open, really_close = os.stat, os.open, os.close
really_readlink = os.readlink


class Fault:
    """An operation that fails inside one directory, from when the training waits there."""

    def __init__(self, directory: Path, number: int) -> None:
        self.directory, self.number, self.count = str(directory), number, 0
        self.active, self.over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.begin)
        self.thread.start()

    def begin(self) -> None:
        while not self.over.wait(0.005):
            try:
                really_stat(f"{self.directory}/go.here")
            except OSError:
                continue
            # Only now may the training continue, so that what it does meets the failing storage.
            self.active.set()
            really_close(really_open(f"{self.directory}/go", os.O_CREAT | os.O_WRONLY))
            return

    def end(self) -> None:
        self.over.set()
        self.thread.join()

    def wrapped(self, real):
        def operation(path, *arguments, **options):
            if self.active.is_set() and self.is_inside(path):
                self.count += 1
                raise OSError(self.number, os.strerror(self.number), str(path))
            return real(path, *arguments, **options)

        return operation

    def is_inside(self, path) -> bool:
        try:
            name = really_readlink(f"/proc/self/fd/{path}") if type(path) is int else str(path)
        except OSError:
            return False
        return name == self.directory or name.startswith(self.directory + "/")


def launched(directory: Path, operation: str, number: int, named: bool, words: list[str]) -> dict:
    run = directory / errno.errorcode[number]
    run.mkdir()
    fault = Fault(run, number)
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("ckptkit").addHandler(handler)
    before = [(module, name, getattr(module, name)) for module, name in PLACES[operation]]
    child = [sys.executable, "-S", str(Path(__file__).with_name("child.py")), str(run), *words]
    try:
        for module, name, real in before:
            setattr(module, name, fault.wrapped(real))
        settings = Settings(run=str(run) if named else "", backoff_secs=0.0)
        code = Supervisor(child, settings).run()
    finally:
        for module, name, real in before:
            setattr(module, name, real)
        logging.getLogger("ckptkit").removeHandler(handler)
        fault.end()
    starts = len((run / "starts").read_text().split())
    return {"code": code, "starts": starts, "faults": fault.count, "lines": lines}


if __name__ == "__main__":
    at = sys.argv.index("--")
    directory, operation, *numbers = sys.argv[1:at]
    named, *words = sys.argv[at + 1 :]
    for number in map(int, numbers):
        try:
            outcome = launched(Path(directory), operation, number, bool(named), words)
        except BaseException as error:  # what must not happen: it is the test's finding
            outcome = {"code": repr(error), "starts": 0, "faults": 0, "lines": []}
        print("outcome", json.dumps({"errno": number, **outcome}), flush=True)
