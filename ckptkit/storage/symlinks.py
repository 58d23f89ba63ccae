"""Refusing symbolic links that lead out of a run directory."""

from __future__ import annotations

import errno

from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout


def refuse_links(layout: RunLayout) -> None:
    """Refuses a run one of whose directories is a symbolic link.

    Recovery removes and renames what it finds in these directories. Through a link, it would do
    that to a directory that may belong to something else.

    Raises:
        StorageError: If one of the run's directories is a link.
    """
    for path in (
        layout.checkpoints,
        layout.journal,
        layout.lock,
        layout.quarantine,
        layout.aside,
        layout.control,
        layout.pins,
        layout.architecture,
    ):
        if path.is_symlink():
            raise StorageError(
                errno.ELOOP,
                f"{path} is a symbolic link, and none is followed out of a run directory. Put the "
                "directory there that "
                f"it leads to, or make the whole run directory a link.",
            )
