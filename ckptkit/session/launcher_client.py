"""Reports to the launcher that has started this training, if one has."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import stat
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckptkit.log import logger
from ckptkit.process_hooks import AtExit, at_exit
from ckptkit.run.intact_verdict import IntactVerdict
from ckptkit.run.launcher_channel import Channel, ChannelState, Failure, channel_of
from ckptkit.session import process_registry
from ckptkit.session.orphaned_output import move_to_log

_DUMP_SIGNAL = 5
"""The offset from SIGRTMIN of the signal that dumps stacks.

The system sends no real-time signals by itself."""
_ENOUGH_TIMES = 2
_LONGEST_MESSAGE = 2000


class LauncherClient:
    """Sends this process's reports to its launcher. If that fails, training continues.

    Args:
        channel: the channel to the launcher.
        descriptor: the descriptor of the lock that shows which process uses the channel.
    """

    def __init__(self, channel: Channel, descriptor: int) -> None:
        self.channel = channel
        self._descriptor = descriptor
        # Reentrant: the garbage collector may run while it is held, and close an abandoned `fit`.
        self._guard = threading.RLock()
        self._seen_free = 0
        self._state = ChannelState(pid=os.getpid(), dump_signal=_dump_on_signal())

    def say(self, **changes: Any) -> None:
        """Send changed fields of the report to the launcher."""
        with self._guard:
            before = self._state
            state = replace(before, **changes)
            # The garbage collector may run here and change the state on this same thread.
            while self._state is not before:
                before = self._state
                state = replace(before, **changes)
            if state != before:
                self._state = state
                # The launcher and its directory are gone, or a path cannot be written as JSON.
                with suppress(OSError, UnicodeEncodeError):
                    self.channel.write(state)

    def is_orphaned(self) -> bool:
        """Return whether the launcher is gone.

        It is gone if its lock was free in two checks in a row. If the kernel cannot tell, the
        launcher counts as running.
        """
        self._seen_free = self._seen_free + 1 if self.channel.is_launched is False else 0
        return self._seen_free >= _ENOUGH_TIMES

    def report_exit(self, error: BaseException | None) -> None:
        """Report the end of the program if it exits while a run is still open.

        Without this report, a launcher that sees only a pipe or a wrapper would assume a killed
        process.

        Args:
            error: the exception that ends the program, or None.
        """
        if not self._state.attempt or self._state.outcome:
            return
        if error is None:
            self.say(outcome="stopped")
        else:
            failure = Failure(error=type(error).__name__, message=str(error)[:_LONGEST_MESSAGE])
            self.say(outcome="failed", failure=failure)

    def close_in_child(self) -> None:
        """Close the lock's descriptor in a forked child, which must not report to the launcher."""
        os.close(self._descriptor)

    def redirect_output(self, log: Path) -> None:
        """Redirect this process's output to the log file, after the launcher was killed.

        The pipes have no reader any more, so the process would block as soon as they are full.
        """
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            with suppress(OSError):
                if _is_pipe(descriptor, self.channel.directory / name):
                    move_to_log(descriptor, log)

    def remove_channel(self) -> None:
        """Remove the channel's directory, because the launcher is gone."""
        shutil.rmtree(self.channel.directory, ignore_errors=True)


def _is_pipe(descriptor: int, pipe: Path) -> bool:
    """Return whether a descriptor still leads into one of the launcher's pipes."""
    expected, present = os.stat(pipe), os.fstat(descriptor)
    return stat.S_ISFIFO(present.st_mode) and (present.st_dev, present.st_ino) == (
        expected.st_dev,
        expected.st_ino,
    )


def _dump_on_signal() -> int:
    """Install a signal that dumps the stacks of all threads, even if the interpreter hangs.

    Returns:
        The number of the signal; 0 if no signal can be used.
    """
    number = int(getattr(signal, "SIGRTMIN", -_DUMP_SIGNAL)) + _DUMP_SIGNAL
    if number and signal.getsignal(number) is signal.SIG_DFL:
        faulthandler.register(number, file=2, all_threads=True)
        return number
    return 0


def link() -> LauncherClient | None:
    """Return this process's client for the launcher's channel, or None.

    Returns None if no launcher started this process, or if another process uses the channel.
    """
    channel = channel_of(os.environ)
    if channel is None:
        return None
    launchers, key = process_registry.state.launchers, str(channel.directory)
    if key not in launchers:
        try:
            launchers[key] = LauncherClient(channel, channel.join())
        except OSError as error:
            logger.debug("this process cannot report to the launcher: %s", error)
            launchers[key] = None
    return launchers[key]


def launcher_verdict() -> IntactVerdict | None:
    """Return the launcher's verdict about the newest checkpoint, or None."""
    client = link()
    return None if client is None else client.channel.read_verdict()


def _report_exit() -> None:
    # Python stores the exception that ends the program here.
    error = getattr(sys, "last_value", None)
    for client in process_registry.state.launchers.values():
        if client is not None:
            client.report_exit(error)


at_exit(AtExit.LAUNCHER, _report_exit)
