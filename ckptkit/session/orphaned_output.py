"""Redirects the output of a process to the log of its run, if its reader is gone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ckptkit.printable_text import printable

_CHUNK = 65_536
_OUTPUTS = (1, 2)


def move_to_log(descriptor: int, log: Path) -> None:
    """Make a descriptor write to the log, and copy unread output of its pipe there.

    Raises:
        OSError: If the log cannot be opened.
    """
    log.parent.mkdir(exist_ok=True)
    if log.parent.is_symlink():
        return
    new = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    old = os.dup(descriptor)
    os.dup2(new, descriptor)
    # The pipe is emptied into the log, or a thread that waits to write into it would wait for ever.
    os.set_blocking(old, False)
    with suppress(OSError):
        while data := os.read(old, _CHUNK):
            os.write(new, data)
    os.close(old)
    os.close(new)


class TerminalOutput:
    """Redirects standard output and error to the log when the terminal is closed.

    Without it, each later `print`, for example of a progress bar, would fail and end the training
    before it can save.

    Args:
        log: the file that receives the output.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._terminals = [descriptor for descriptor in _OUTPUTS if os.isatty(descriptor)]

    def move(self) -> None:
        """Redirect output to the log after SIGHUP; call it on any thread or in a signal handler.

        It does not check whether the terminal is gone, because a closed terminal may still answer
        for a moment.
        """
        terminals, self._terminals = self._terminals, []
        for descriptor in terminals:
            with suppress(OSError):
                told = f"ckptkit: SIGHUP; output continues in {printable(str(self._log))}\n"
                os.write(descriptor, told.encode())
            try:
                move_to_log(descriptor, self._log)
            except OSError:
                self._discard(descriptor)

    def _discard(self, descriptor: int) -> None:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
