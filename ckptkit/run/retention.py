"""Retention: decides which checkpoints stay, with a reason for each, and removes the others.

Some are never removed: the newest intact checkpoint, the newest one with finite metrics, pinned
ones, and those that are being read. A damaged checkpoint stays too, because its remains may still
be useful, but it does not count for the policy.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ckptkit.layout import MANIFEST, CheckpointName, RunLayout
from ckptkit.log import logger
from ckptkit.ownership.reader_leases import about_to_go, being_read
from ckptkit.policies import Candidate, KeepPolicy, judge
from ckptkit.policies.keep_verdicts import always
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.checkpoint_removal import remove_checkpoint
from ckptkit.run.events import TakenAway
from ckptkit.run.journal import Journal, best_effort
from ckptkit.run.pins import pinned
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.storage.files import FileSystem


@dataclass(frozen=True)
class Judged:
    """The decision about one checkpoint: whether it stays, and why.

    Args:
        checkpoint: the checkpoint.
        stays: whether it stays.
        reason: the reason for the decision.
    """

    checkpoint: Checkpoint
    stays: bool
    reason: str


def review(
    index: CheckpointIndex,
    policy: KeepPolicy,
    *,
    coming: Candidate | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Judged]:
    """Decide which checkpoints of a run stay, and change nothing.

    Args:
        index: the index of the run's checkpoints.
        policy: the keep policy.
        coming: a checkpoint that is about to be written; see `judge`.
        progress: called with the size of each chunk that is read from the newest checkpoint.

    Returns:
        A decision about each checkpoint, oldest first.

    Raises:
        StorageError: If a directory cannot be read.
    """
    judged, deciding = _judge_all(index, policy, coming, progress)
    # The index may be out of date. Before any removal, check again the checkpoints on which the
    # decision depends: a file may have been deleted meanwhile.
    if deciding and index.forget_changed(deciding):
        judged, _ = _judge_all(index, policy, coming, progress)
    return judged


def _judge_all(
    index: CheckpointIndex,
    policy: KeepPolicy,
    coming: Candidate | None,
    progress: Callable[[int], None],
) -> tuple[list[Judged], list[CheckpointName]]:
    """Decide about each checkpoint from the index.

    Returns:
        The decisions, and the checkpoints on which a removal depends.
    """
    examined = index.examine(progress)
    whole = [finding.candidate for _, finding in examined if finding.candidate is not None]
    verdicts = {
        verdict.name: verdict
        for verdict in judge(policy, whole, protected=_protected(index.layout), coming=coming)
    }
    found = []
    for checkpoint, finding in examined:
        verdict = verdicts.get(str(checkpoint.name))
        if verdict is not None:
            found.append(Judged(checkpoint, verdict.stays, verdict.reason))
        elif checkpoint.path.exists():
            state = "not readable now" if finding.refused else "damaged"
            reason = f"{state}, so it takes no other's place, and is left where it is: "
            reason += finding.damage
            found.append(Judged(checkpoint, True, reason))
    going = [each.checkpoint.name for each in found if not each.stays]
    newest = always(whole)
    deciding = [each.checkpoint.name for each in found if str(each.checkpoint.name) in newest]
    return found, going and going + deciding


def _protected(layout: RunLayout) -> dict[str, str]:
    """Return the checkpoints that stay regardless of the policy, each with the reason."""
    protected = {str(name): "being read" for name in being_read(layout)}
    for name in pinned(layout):
        protected[str(name)] = "; ".join(filter(None, ("pinned", protected.get(str(name)))))
    return protected


def files_of(judged: Sequence[Judged]) -> dict[CheckpointName, list[os.stat_result]]:
    """Return the files of some checkpoints as the disk knows them, without their manifests.

    Args:
        judged: the checkpoints.
    """
    found: dict[CheckpointName, list[os.stat_result]] = {}
    for each in judged:
        files = found.setdefault(each.checkpoint.name, [])
        with suppress(OSError), os.scandir(each.checkpoint.path) as entries:
            files += [
                entry.stat(follow_symlinks=False) for entry in entries if entry.name != MANIFEST
            ]
    return found


def freed_bytes(files: Collection[Sequence[os.stat_result]]) -> int:
    """Return how many bytes the disk gets back if some checkpoints are removed.

    A file that another checkpoint has too, as a hard link, stays.

    Args:
        files: the files of each checkpoint; see `files_of`.
    """
    names = Counter((each.st_dev, each.st_ino) for one in files for each in one)
    found = {(each.st_dev, each.st_ino): each for one in files for each in one}
    return sum(each.st_size for key, each in found.items() if names[key] >= each.st_nlink)


def retain(files: FileSystem, index: CheckpointIndex, journal: Journal, policy: KeepPolicy) -> None:
    """Apply a keep policy to a run after a commit.

    A checkpoint that cannot be removed stays, which a warning and the journal report.

    Args:
        files: how to change the disk.
        index: the index of the run's checkpoints.
        journal: the journal of this attempt.
        policy: the keep policy.

    Raises:
        StorageError: If a directory cannot be read.
    """
    for judged in review(index, policy):
        if not judged.stays:
            with best_effort(journal, f"remove {judged.checkpoint.name}"):
                remove(files, index.layout, journal, judged)


def remove(files: FileSystem, layout: RunLayout, journal: Journal, judged: Judged) -> bool:
    """Remove a checkpoint, unless it is pinned or being read by now.

    Returns:
        Whether it was removed.

    Raises:
        StorageError: If the disk refuses.
    """
    name = judged.checkpoint.name
    # First set the mark, then check for leases. A reader first leaves its lease and then checks for
    # the mark, so one of the two notices the other.
    with about_to_go(files, layout, name) as is_marked:

        def spared() -> bool:
            # Without the mark, a reader notices the rename: it checks for the checkpoint after it
            # has left its lease, and this checks for leases after the rename.
            return name in pinned(layout) or (not is_marked and name in being_read(layout))

        if name in being_read(layout) or not remove_checkpoint(files, layout, name, spared):
            return False
    journal.record(TakenAway(checkpoint=str(name), reason=judged.reason))
    logger.debug("removed %s: %s", name, judged.reason)
    return True
