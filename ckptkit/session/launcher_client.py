"""The training's side of the channel to a launcher, if a launcher has started it."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import stat
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckptkit.log import logger
from ckptkit.run.launcher_channel import Channel, ChannelState, channel_of
from ckptkit.session import process_state

_DUMP_SIGNAL = 5
"""Counted from SIGRTMIN: no system sends those signals by itself."""
_CHUNK = 65_536
_ENOUGH_TIMES = 2


class LauncherClient:
    """Sends this process's reports to its launcher. If that fails, training continues.

    Args:
        channel: the channel to the launcher.
        descriptor: the descriptor of the lock that shows which process uses the channel.
    """

    def __init__(self, channel: Channel, descriptor: int) -> None:
        self.channel = channel
        self._descriptor = descriptor
        # Reentrant: the garbage collector may run inside, and close a `fit` that was left.
        self._guard = threading.RLock()
        self._seen_free = 0
        self._state = ChannelState(pid=os.getpid(), dump_signal=_dump_on_signal())

    def say(self, **changes: Any) -> None:
        """Report to the launcher what has changed."""
        with self._guard:
            before = self._state
            state = replace(before, **changes)
            # The collector may have come in between, and have changed the state on this thread.
            while self._state is not before:
                before = self._state
                state = replace(before, **changes)
            if state != before:
                self._state = state
                # The launcher has gone, and its directory with it; or no JSON can spell a path.
                with suppress(OSError, UnicodeEncodeError):
                    self.channel.write(state)

    def is_orphaned(self) -> bool:
        """Return whether the launcher is gone.

        Only a lock that was free twice in a row shows that. If the kernel cannot tell, the launcher
        is taken to be running.
        """
        self._seen_free = self._seen_free + 1 if self.channel.is_launched is False else 0
        return self._seen_free >= _ENOUGH_TIMES

    def close_in_child(self) -> None:
        """Close the descriptor in a forked child, which must not report to the launcher."""
        os.close(self._descriptor)

    def redirect_output(self, log: Path) -> None:
        """Redirect the output of this process to the log file, after the launcher was killed.

        Nothing reads the pipes any more, and the process would block as soon as they are full.
        """
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            with suppress(OSError):
                if _is_pipe(descriptor, self.channel.directory / name):
                    _move_to_log(descriptor, log)

    def remove_channel(self) -> None:
        """Remove the channel's directory, which the lost launcher can no longer do."""
        shutil.rmtree(self.channel.directory, ignore_errors=True)


def _is_pipe(descriptor: int, pipe: Path) -> bool:
    """Return whether a descriptor is still one of the launcher's pipes."""
    expected, present = os.stat(pipe), os.fstat(descriptor)
    return stat.S_ISFIFO(present.st_mode) and (present.st_dev, present.st_ino) == (
        expected.st_dev,
        expected.st_ino,
    )


def _move_to_log(descriptor: int, log: Path) -> None:
    log.parent.mkdir(exist_ok=True)
    if log.parent.is_symlink():
        return
    new = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    old = os.dup(descriptor)
    os.dup2(new, descriptor)
    # What the pipe holds is moved as well: a thread may be waiting to write into it, and would
    # wait for ever.
    os.set_blocking(old, False)
    with suppress(BlockingIOError):
        while True:
            os.write(new, os.read(old, _CHUNK))
    os.close(old)
    os.close(new)


def _dump_on_signal() -> int:
    """Make a signal dump the stacks of all threads, even while the interpreter hangs.

    Returns:
        The number of the signal; 0 if there is none that can be used.
    """
    number = int(getattr(signal, "SIGRTMIN", -_DUMP_SIGNAL)) + _DUMP_SIGNAL
    if number and signal.getsignal(number) is signal.SIG_DFL:
        faulthandler.register(number, file=2, all_threads=True)
        return number
    return 0


def link() -> LauncherClient | None:
    """Return this process's client for the launcher's channel, or None.

    It is None if no launcher has started the process, or if another process uses the channel.
    """
    channel = channel_of(os.environ)
    if channel is None:
        return None
    launchers, key = process_state.state.launchers, str(channel.directory)
    if key not in launchers:
        try:
            launchers[key] = LauncherClient(channel, channel.join())
        except OSError as error:
            logger.debug("this process cannot report to the launcher: %s", error)
            launchers[key] = None
    return launchers[key]
