"""Whether a step of a run is served already: what the disk says, as a server sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ckptkit.exports import version_directories
from ckptkit.exports.export_record import ExportRecord
from ckptkit.exports.version_directories import Version


def served_already(
    base: Path, step: int, is_same: Callable[[ExportRecord], bool], mine: Path | None = None
) -> tuple[Version | None, str]:
    """The newest version of a base directory, where it is this step, the same, and whole, and a
    line about that.

    Args:
        base: the base directory.
        step: of the run.
        is_same: whether a version's record is of the same values under the same signatures.
        mine: the version that the run itself has published last; it counts also below newer ones,
            which are somebody else's then.

    Returns:
        The version or None, and what there is to say: where the step is there otherwise, why it is
        exported anew; empty where it never was there.

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
        why = f"servers take {newest.path.name} above it"
    elif not is_same(found.record):
        why = "it has other values or other signatures"
    elif found is not newest:
        return (
            found,
            f"{there}; servers take {newest.path.name} above it, which this run has not published",
        )
    elif missing := version_directories.missing_files(found):
        why = f"it is not whole: {missing[0]}"
    else:
        return found, there
    return None, f"step {step} was exported as {found.path}, and is exported anew: {why}"


def superseded(base: Path, mine: Path) -> str:
    """Says that a version is gone, and servers take a newer one; empty where not.

    Args:
        base: the base directory.
        mine: the version that a run has published last.

    Raises:
        StorageError: If the directory cannot be read.
    """
    numbers = version_directories.numbers(base)
    if int(mine.name) in numbers or not numbers or numbers[-1] < int(mine.name):
        return ""
    return f"{mine} was published, and is gone; servers take {numbers[-1]}, which this run has not published, and nothing is exported"
