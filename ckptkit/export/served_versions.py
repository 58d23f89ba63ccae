"""Decides whether a step is already published, by the version that a server would load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ckptkit.exports import version_directories
from ckptkit.exports.export_record import ExportRecord
from ckptkit.exports.version_directories import Version


def served_already(
    base: Path, step: int, is_same: Callable[[ExportRecord], bool], mine: Path | None = None
) -> tuple[Version | None, str]:
    """Return the newest version of a base directory if it is this step, complete and unchanged.

    Args:
        base: the base directory.
        step: the run's step.
        is_same: whether a version's record has the same values under the same signatures.
        mine: the version that the run itself published last. It counts even if newer versions
            exist, because those belong to another owner.

    Returns:
        The version or None, and the reason why an existing step is exported again; empty if it was
            never exported.

    Raises:
        StorageError: If the directory cannot be read.
    """
    versions = version_directories.list_versions(base)
    of_step = [
        version
        for version in versions
        if version.record is not None and version.record.source.step == step
    ]
    if not of_step:
        return None, ""
    newest = versions[-1]
    own = next(
        (version for version in of_step if mine is not None and version.path.name == mine.name),
        None,
    )
    found = own or of_step[-1]
    assert found.record is not None
    there = f"step {step} is exported already, as {found.path}"
    if found is not newest and own is None:
        why = f"servers load {newest.path.name}, which has a higher number"
    elif not is_same(found.record):
        why = "it has other values or other signatures"
    elif found is not newest:
        return (
            found,
            f"{there}; servers load {newest.path.name}, which has a higher number and which this "
            "run has not published",
        )
    elif missing := version_directories.missing_files(found):
        why = f"it is incomplete: {missing[0]}"
    else:
        return found, there
    return None, f"step {step} was exported as {found.path} and is exported again: {why}"


def superseded(base: Path, mine: Path) -> str:
    """Return a message if a version is gone and servers load a newer one; else an empty string.

    Args:
        base: the base directory.
        mine: the version that a run published last.

    Raises:
        StorageError: If the directory cannot be read.
    """
    numbers = version_directories.numbers(base)
    if int(mine.name) in numbers or not numbers or numbers[-1] < int(mine.name):
        return ""
    return (
        f"{mine} was published but is gone; servers load {numbers[-1]}, which this run has not "
        "published. Nothing is exported"
    )
