"""Whether a step of a run is served already: what the disk says, as a server sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ckptkit.store import exports
from ckptkit.store.export_record import ExportRecord
from ckptkit.store.exports import Version


def served_already(base: Path, step: int, is_same: Callable[[ExportRecord], bool]) -> tuple[Version | None, str]:
    """The newest version of a base directory, where it is this step, the same, and whole, and a line about that.

    Args:
        base: the base directory.
        step: of the run.
        is_same: whether a version's record is of the same values under the same signatures.

    Returns:
        The version or None, and what there is to say: where the step is there otherwise, why it is exported anew; empty where it never was there.

    Raises:
        StorageError: where the directory cannot be read.
    """
    versions = exports.list_versions(base)
    of_step = [version for version in versions if version.record is not None and version.record.source.step == step]
    if not of_step:
        return None, ""
    newest, found = versions[-1], of_step[-1]
    assert found.record is not None
    if found is not newest:
        why = f"servers take {newest.path.name} above it"
    elif not is_same(found.record):
        why = "it has other values or other signatures"
    elif missing := exports.missing_files(found):
        why = f"it is not whole: {missing[0]}"
    else:
        return found, f"step {step} is exported already, as {found.path}"
    return None, f"step {step} was exported as {found.path}, and is exported anew: {why}"
