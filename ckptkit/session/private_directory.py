"""Private directories of workers that have no run directory, and the removal of those left over."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ckptkit.ownership.kernel_lock import hold, is_held

_LOCK = "lock"


def private_directory(rank: int) -> tuple[Path, Callable[[], None]]:
    """Make a directory for the life of a session, and remove those of killed processes.

    Args:
        rank: the number of the worker.

    Returns:
        The directory, and a function that removes it.
    """
    remove_left_over(Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=f"{_prefix()}{rank}-"))
    # Held before it gets its name: another worker may look for directories left over just now.
    new = directory / "new"
    new.touch()
    lock = hold(new)
    new.rename(directory / _LOCK)

    def remove() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)

    return directory, remove


def remove_left_over(parent: Path) -> None:
    """Remove the private directories of this user whose processes have ended.

    Args:
        parent: the directory for temporary files.
    """
    for found in parent.glob(f"{glob.escape(_prefix())}*"):
        with suppress(OSError):
            # One without the file is just being made. Of one whose lock the kernel cannot tell,
            # the process may still run.
            if found.stat().st_uid == os.getuid() and is_held(found / _LOCK) is False:
                shutil.rmtree(found, ignore_errors=True)


def _prefix() -> str:
    # With the machine, because directories for temporary files may be shared, and locks are not.
    return f"ckptkit-worker-{socket.gethostname()}-"
