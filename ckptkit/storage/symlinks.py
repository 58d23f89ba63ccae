"""Nothing in a run directory is written through a symbolic link out of it."""

from __future__ import annotations

import errno

from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout


def refuse_links(layout: RunLayout) -> None:
    """A run is what is in its directory. Through a link in it, a save here would put another
    directory in order.

    Raises:
        StorageError: where one of its directories is a link.
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
