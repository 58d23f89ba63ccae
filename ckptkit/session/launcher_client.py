"""This process's side of the launcher's channel, where a launcher has started it."""

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

_DUMP_SIGNAL = 5  # counted from SIGRTMIN: nobody sends those without having been told to
_CHUNK = 65_536
_SEEN_FREE = 2


class LauncherClient:
    """What this process says to its launcher. Nothing that fails here is worth an interruption of
    training.

    Args:
        channel: to the launcher.
        descriptor: of the lock that says that this process speaks there.
    """

    def __init__(self, channel: Channel, descriptor: int) -> None:
        self.channel = channel
        self._descriptor = descriptor
        self._guard = (
            threading.RLock()
        )  # the collector may come by inside, and end a `fit` that was left
        self._free = 0
        self._said = ChannelState(pid=os.getpid(), dump_signal=_dump_on_signal())

    def say(self, **changes: Any) -> None:
        """Says what has changed."""
        with self._guard:
            before = self._said
            said = replace(before, **changes)
            while self._said is not before:
                before = self._said
                said = replace(before, **changes)
            if said != before:
                self._said = said
                with suppress(
                    OSError,
                    UnicodeEncodeError,
                    # the launcher has gone, and its directory with it; or a path that no JSON can
                    # spell
                ):
                    self.channel.write(said)

    def is_orphaned(self) -> bool:
        """Whether the launcher is gone. Only a lock that was seen to be free, twice in a row, says
        so: where the kernel cannot tell, it is there.
        """
        self._free = self._free + 1 if self.channel.is_launched is False else 0
        return self._free >= _SEEN_FREE

    def close_in_child(self) -> None:
        """A forked child says nothing."""
        os.close(self._descriptor)

    def goes_on_alone(self, log: Path) -> None:
        """The launcher was killed: nobody reads what this process prints, which would stop when the
        pipes are full. It goes to the log instead.
        """
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            with suppress(OSError):
                pipe = os.stat(self.channel.directory / name)
                present = os.fstat(descriptor)
                if not stat.S_ISFIFO(present.st_mode) or (present.st_dev, present.st_ino) != (
                    pipe.st_dev,
                    pipe.st_ino,
                ):
                    continue
                log.parent.mkdir(exist_ok=True)
                if log.parent.is_symlink():
                    continue
                new = os.open(
                    log,
                    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o644,
                )
                old = os.dup(descriptor)
                os.dup2(new, descriptor)
                os.set_blocking(old, False)
                with suppress(BlockingIOError):
                    while True:
                        os.write(
                            new, os.read(old, _CHUNK)
                        )  # a thread that waits to write there can go on
                os.close(old)
                os.close(new)

    def leave(self) -> None:
        """This process ends after its launcher: nobody else removes the channel."""
        shutil.rmtree(self.channel.directory, ignore_errors=True)


def _dump_on_signal() -> int:
    """Has the stacks of all threads written on a signal, by C code that needs no turn of the
    interpreter; the signal's number, or 0.
    """
    number = int(getattr(signal, "SIGRTMIN", -_DUMP_SIGNAL)) + _DUMP_SIGNAL
    if number and signal.getsignal(number) is signal.SIG_DFL:
        faulthandler.register(number, file=2, all_threads=True)
        return number
    return 0


_links: dict[str, LauncherClient | None] = {}


def link() -> LauncherClient | None:
    """The link of this process; None where no launcher has started it, or where another process of
    that launcher speaks already.
    """
    channel = channel_of(os.environ)
    if channel is None:
        return None
    key = str(channel.directory)
    if key not in _links:
        try:
            _links[key] = LauncherClient(channel, channel.join())
        except OSError as error:
            logger.debug("this process says nothing to the launcher: %s", error)
            _links[key] = None
    return _links[key]


def _forget_in_child() -> None:
    for each in _links.values():
        if each is not None:
            each.close_in_child()
    _links.clear()


os.register_at_fork(after_in_child=_forget_in_child)
