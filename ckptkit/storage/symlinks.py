"""Detects symbolic links that lead out of a run directory, to protect the files behind them."""

from __future__ import annotations

import errno
from pathlib import Path

from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout


def refuse_links(layout: RunLayout) -> None:
    """Refuse a run if one of its directories is a symbolic link.

    Recovery removes and renames entries of these directories. Through a link, it would change a
    directory that may belong to something else.

    Raises:
        StorageError: If one of the run's directories is a link.
    """
    for path in (
        layout.checkpoints,
        layout.journal,
        layout.lock,
        layout.quarantine,
        layout.aside,
        layout.fresh,
        layout.control,
        layout.pins,
        layout.architecture,
        layout.seed,
    ):
        if path.is_symlink():
            raise StorageError(
                errno.ELOOP,
                f"{path} is a symbolic link, which ckptkit does not follow out of a run "
                f"directory. Move the target directory there, or make the whole run directory a "
                f"link.",
            )


def leads_out(root: Path, path: Path) -> bool:
    """Return whether a path below a run directory leads out of it through a symbolic link.

    The files there may belong to another run, so none is removed or rewritten. The run directory
    itself may be a link.

    Args:
        root: the run directory.
        path: a path below it, as it is written.
    """
    return not path.resolve().is_relative_to(root.resolve())


def leads_out_of_its_run(path: Path) -> bool:
    """Return whether a path that seems to be in a run directory leads out of it."""
    found = (parent for parent in path.absolute().parents if RunLayout(parent).journal.is_dir())
    root = next(found, None)
    return root is not None and leads_out(root, path)
