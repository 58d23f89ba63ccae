"""The check after a crash: everything visible is whole, nothing is lost, nothing is left over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.policies import KeepLatest
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.journal_reader import read_journal
from tests.campaigns.crash import exports as exported
from tests.campaigns.crash import tensorboard_logs as logs
from tests.campaigns.crash.run_process import RunProcess, serial_of
from tests.support.disks import Unsynced

_OWN = re.compile(r"ckpt-\d+-\d+|checkpoint|\.fence-\d+")
NEXT_SERIAL, NEXT_STEP = 99, 990


def find_problem(
    root: Path,
    least: int,
    most: int,
    *,
    bad: Iterable[str] = (),
    moved_to: Iterable[str] = (),
    torn: int = 1,
    exports: tuple[int, int] = (0, 0),
) -> str | None:
    """Check what a crash has left of a run, recover it, and save once more.

    Args:
        root: the directory above the run.
        least: the newest save that must not be lost; 0 if there may be none.
        most: the newest save that there can be.
        bad: names of checkpoints that were damaged before.
        moved_to: see `Scenario`.
        torn: how many lines of journals may be damaged.
        exports: the newest export that must not be lost, and the newest that there can be; 0 where
            there may be none.

    Returns:
        What is wrong, or None.
    """
    process, bad = RunProcess(root, Unsynced()), set(bad)
    layout = process.layout
    for checkpoint in list_checkpoints(layout):
        if str(checkpoint.name) not in bad:
            serial_of(checkpoint)  # a reader takes no lock and recovers nothing
    damaged = read_journal(layout).damaged
    if len(damaged) > torn:
        return f"the journals are damaged: {damaged}"
    if layout.state_file.exists() and not layout.state_file.read_bytes().endswith(b'"\n'):
        return "TensorFlow's state file is torn"
    process.begin()
    names = {path.name for path in layout.checkpoints.iterdir()}
    if others := {name for name in names if not _OWN.fullmatch(name)}:
        return f"left over: {others}"
    found = newest_serial(list_checkpoints(layout), bad)
    elsewhere = max(
        (newest_serial(checkpoints_in(layout.root / where), bad) for where in moved_to), default=0
    )
    if not least <= max(found, elsewhere) <= most:
        return f"the newest is save {found} ({elsewhere} elsewhere); expected {least} to {most}"
    process.pass_over_damaged()
    process.save(NEXT_STEP, NEXT_SERIAL, KeepLatest(1))
    if names_after(layout) - bad != {f"ckpt-{NEXT_STEP}-{process.journal.attempt}", "checkpoint"}:
        return f"after one more save there are {names_after(layout)}"
    if newest_serial(list_checkpoints(layout), bad) != NEXT_SERIAL:
        return "one more save is not the newest"
    return logs.problem(process) or (exported.problem(process, *exports) if exports[1] else None)


def newest_serial(checkpoints: list[Checkpoint], bad: Iterable[str] = ()) -> int:
    """The newest that is good. Of those that were good before, all have to be."""
    serials = []
    for checkpoint in checkpoints:
        try:
            serials.append(serial_of(checkpoint))
        except CorruptCheckpointError:
            if str(checkpoint.name) not in bad:
                raise
    return serials[-1] if serials else 0


def names_after(layout: RunLayout) -> set[str]:
    return {
        path.name for path in layout.checkpoints.iterdir() if not path.name.startswith(".fence-")
    }


def checkpoints_in(directory: Path) -> list[Checkpoint]:
    if not directory.is_dir():
        return []
    found = [
        Checkpoint(name, path)
        for path in directory.iterdir()
        if (name := CheckpointName.parse(path.name)) is not None
    ]
    return sorted(found, key=lambda checkpoint: (checkpoint.attempt, checkpoint.step))


def problem_of(root: Path, least: int, most: int, **options: object) -> str | None:
    """As `find_problem`; an error that is raised is a problem too."""
    try:
        return find_problem(root, least, most, **options)  # type: ignore[arg-type]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
