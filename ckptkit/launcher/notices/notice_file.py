"""Takes notices from a file, for other clouds, batch systems, drills and tests."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

from ckptkit.launcher.notices.metadata_client import Unavailable
from ckptkit.launcher.notices.notice import Notice, printable

DEFAULT_SECS = 30.0
_MOST_BYTES = 4096


def notice_of(content: bytes, path: Path) -> Notice:
    """Return the notice in a file with the content `SECONDS REASON`; both may be missing.

    Args:
        content: the first bytes of the file.
        path: its path, to show to people.
    """
    text = content.decode("utf-8", "replace")
    first, *_ = text.split(maxsplit=1) or [""]
    try:
        grace_secs = float(first)
    except ValueError:
        grace_secs = math.nan
    if not (math.isfinite(grace_secs) and grace_secs >= 0):
        grace_secs = DEFAULT_SECS
    return Notice(
        "file", grace_secs, f"{path}: {printable(text)}" if text.strip() else f"{path} is there"
    )


class File:
    """Watches for a file: its presence is the notice, and its removal cancels it.

    Args:
        path: the path of the file. Write it under another name first and rename it, so that it is
            never read incomplete.
    """

    name = "file"
    pause_secs = 0.5

    def __init__(self, path: Path) -> None:
        self._path = path

    def look(self) -> Notice | None:
        """Return the notice in the file.

        Raises:
            Unavailable: If the system does not say whether the file exists.
        """
        try:
            # Without `O_NONBLOCK`, a named pipe at this path would block until it has a writer.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return notice_of(os.read(descriptor, _MOST_BYTES) if regular else b"", self._path)
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error
        finally:
            os.close(descriptor)
