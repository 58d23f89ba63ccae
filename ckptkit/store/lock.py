"""One writer: a lock on the run directory, with a record of who holds it.

The lock is `flock` on `<run>/.lock`, so that the kernel lets go of it when its owner dies, whatever the way. A forked child closes its
copy of the descriptor: an orphan must not keep its parent's lock. That is why no library's lock is used here: none gives the descriptor.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
import weakref
from dataclasses import dataclass

import msgspec

from ckptkit.errors import RunLockedError
from ckptkit.store.files import FileSystem, storage_errors
from ckptkit.store.layout import RunLayout

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a run.

    Args:
        host: name of the machine.
        pid: number of the process.
        since: when it took the run, in seconds since the epoch.
    """

    host: str
    pid: int
    since: float


class RunLock:
    """The lock of one run, taken when it is made.

    Args:
        files: how to change the disk.
        layout: the run.
        since: the time of now.

    Raises:
        RunLockedError: where another process holds it, with host, pid, and since when.
        StorageError: where the disk refuses.
    """

    def __init__(self, files: FileSystem, layout: RunLayout, since: float) -> None:
        path = layout.root / ".lock"
        with storage_errors("open", path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with storage_errors("lock", path):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except Exception as error:
            os.close(self._descriptor)
            if isinstance(error.__cause__, BlockingIOError):
                raise RunLockedError(f"The run in {layout.root} is being trained by {_describe(layout)}. Expected that nobody else writes to it. "
                                     f"Stop that process, or wait until it ends, or name another directory.") from error
            raise
        _held.add(self)
        try:
            files.replace_content(layout.lock, msgspec.json.encode(Owner(host=socket.gethostname(), pid=os.getpid(), since=since)))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets go; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        _held.discard(self)


def read_owner(layout: RunLayout) -> Owner | None:
    """Who has taken the run last, or None where that is not known."""
    try:
        return msgspec.json.decode(layout.lock.read_bytes(), type=Owner)
    except (OSError, msgspec.DecodeError):
        return None


def _describe(layout: RunLayout) -> str:
    owner = read_owner(layout)
    if owner is None:
        return "another process"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.since))
    return f"process {owner.pid} on {owner.host}, since {since}"


def _after_fork_in_child() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_after_fork_in_child)
