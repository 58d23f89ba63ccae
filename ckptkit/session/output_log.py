"""Moving what a process prints to the log of its run, if nobody reads it any more."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CHUNK = 65_536
_OUTPUTS = (1, 2)


def move_to_log(descriptor: int, log: Path) -> None:
    """Have a descriptor lead to the log, with what a pipe behind it still holds.

    Raises:
        OSError: If the log cannot be opened.
    """
    log.parent.mkdir(exist_ok=True)
    if log.parent.is_symlink():
        return
    new = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    old = os.dup(descriptor)
    os.dup2(new, descriptor)
    # What the pipe holds is moved as well: a thread may be waiting to write into it, and would
    # wait for ever.
    os.set_blocking(old, False)
    with suppress(OSError):
        while data := os.read(old, _CHUNK):
            os.write(new, data)
    os.close(old)
    os.close(new)


class TerminalOutput:
    """Standard output and error of this process, if they are a terminal that may be closed.

    After that each `print` fails, as of a progress bar, and would end the training before it could
    save.

    Args:
        log: gets the output then.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._terminals = [descriptor for descriptor in _OUTPUTS if os.isatty(descriptor)]

    def move(self) -> None:
        """Move output to the log after SIGHUP; from a signal handler, or any thread.

        Whether the terminal is gone is not asked: for a moment it still answers.
        """
        terminals, self._terminals = self._terminals, []
        for descriptor in terminals:
            with suppress(OSError):
                os.write(descriptor, f"ckptkit: SIGHUP; output continues in {self._log}\n".encode())
            try:
                move_to_log(descriptor, self._log)
            except OSError:
                self._discard(descriptor)

    def _discard(self, descriptor: int) -> None:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
