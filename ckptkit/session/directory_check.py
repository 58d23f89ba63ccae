"""Checks the directory of a run before anything is written into it."""

from __future__ import annotations

import os
from pathlib import Path

from ckptkit.errors import ConfigError
from ckptkit.layout import SEED_FILE, RunLayout, journal_attempt
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.foreign_directory import OF_A_RUN, listing, recognise
from ckptkit.storage.files import storage_errors


def check_directory(layout: RunLayout) -> None:
    """Check that the directory is a run of ckptkit, or can become one.

    Raises:
        ConfigError: If it is a file, or belongs to another program.
    """
    with storage_errors("look at", layout.root):
        for path in (layout.root, layout.checkpoints, layout.journal):
            if path.exists() and not path.is_dir():
                raise ConfigError(
                    f"{path} is a file; a run needs a directory there. Move the file away, or "
                    "name another directory."
                )
        # `ckptkit.seeded` has checked the directory and begun the run in it.
        begun = _has_trained(layout) or (layout.seed / SEED_FILE).exists()
        if begun or list_checkpoints(layout):
            return
        names = listing(layout) if layout.root.exists() else {}
        found = recognise(layout.root, names, _home(), _run_around(layout.root))
    if found is not None:
        raise ConfigError(
            f"{layout.root} {found.what}, so no run can begin there. Nothing was written. "
            f"{found.way_on}."
        )


def _has_trained(layout: RunLayout) -> bool:
    # A launcher writes its own journal there before the first attempt.
    return layout.journal.is_dir() and any(
        journal_attempt(path.name) for path in layout.journal.iterdir()
    )


def _run_around(directory: Path) -> Path | None:
    """Return the run to whose own directories a path belongs, such as `export` in it."""
    inside = Path(os.path.abspath(directory))
    for path in (inside, *inside.parents):
        if path.name in OF_A_RUN and _has_trained(RunLayout(path.parent)):
            return path.parent
    return None


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None
