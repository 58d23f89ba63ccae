"""Which checkpoints of a run stay, each with a reason, and taking away the others.

What may not be taken away, whatever the policy: the newest checkpoint that is whole, the newest one
with finite metrics, a pinned one, one that somebody is reading, and one that is damaged: it takes
no other's place, and is not ours to delete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ckptkit.errors import CheckpointError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.log import logger
from ckptkit.ownership.reader_leases import about_to_go, being_read
from ckptkit.policies import Candidate, KeepPolicy, judge
from ckptkit.run.best_effort import best_effort
from ckptkit.run.catalog import Checkpoint, list_checkpoints
from ckptkit.run.commit import take_away
from ckptkit.run.events import TakenAway
from ckptkit.run.journal import Journal
from ckptkit.run.pins import pinned
from ckptkit.run.verify import verify
from ckptkit.storage.files import FileSystem


@dataclass(frozen=True)
class Judged:
    """A checkpoint, and what becomes of it.

    Args:
        checkpoint: which.
        stays: whether it stays.
        reason: why, or why not.
    """

    checkpoint: Checkpoint
    stays: bool
    reason: str


def review(
    layout: RunLayout,
    policy: KeepPolicy,
    *,
    coming: Candidate | None = None,
    own: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Judged]:
    """What becomes of each checkpoint of a run; nothing is changed.

    Args:
        layout: the run.
        policy: the keep policy.
        coming: a checkpoint that is about to be written; see `judge`.
        own: the attempt whose checkpoints this process has written itself. Where the newest is
            another's, it is read in full before older ones are given up for it.
        progress: is told how many bytes of that were read, as it goes on.

    Returns:
        A judgement on each, oldest first.

    Raises:
        StorageError: where directories cannot be read.
    """
    checkpoints = list_checkpoints(layout)
    damage = _damage(checkpoints, own, progress)
    whole = [c for c in checkpoints if c.name not in damage]
    protected = {str(name): "being read" for name in being_read(layout)}
    for name in pinned(layout):
        protected[str(name)] = "; ".join(filter(None, ("pinned", protected.get(str(name)))))
    verdicts = {
        verdict.name: verdict
        for verdict in judge(
            policy, [candidate(c) for c in whole], protected=protected, coming=coming
        )
    }
    found = []
    for checkpoint in checkpoints:
        verdict = verdicts.get(str(checkpoint.name))
        if verdict is not None:
            found.append(Judged(checkpoint, verdict.stays, verdict.reason))
        elif checkpoint.path.exists():
            found.append(
                Judged(
                    checkpoint,
                    True,
                    "damaged, so it takes no other's place, and is left where it is: "
                    f"{damage[checkpoint.name]}",
                )
            )
    return found


def candidate(checkpoint: Checkpoint) -> Candidate:
    """What a keep policy may know of a checkpoint."""
    return Candidate(name=str(checkpoint.name), step=checkpoint.step, metrics=checkpoint.metrics)


def _damage(
    checkpoints: Sequence[Checkpoint], own: int | None, progress: Callable[[int], None]
) -> dict[CheckpointName, str]:
    """What is wrong with those that are not whole: of the newest in full, of the others as far as a
    quick look tells.
    """
    damage: dict[CheckpointName, str] = {}
    newest_is_known = False
    for checkpoint in reversed(checkpoints):
        try:
            if newest_is_known or checkpoint.attempt == own:
                verify(checkpoint, quick=True)
            else:
                verify(checkpoint, progress=progress)
            newest_is_known = True
        except CheckpointError as error:
            damage[checkpoint.name] = str(error)
    return damage


def retain(files: FileSystem, layout: RunLayout, journal: Journal, policy: KeepPolicy) -> None:
    """Applies a keep policy to a run, right after a commit. What cannot be taken away is left where
    it is, and said.

    Args:
        files: how to change the disk.
        layout: the run.
        journal: of this attempt.
        policy: the keep policy.

    Raises:
        StorageError: where the directory cannot be read.
    """
    for judged in review(layout, policy, own=journal.attempt):
        if not judged.stays:
            with best_effort(journal, f"take away {judged.checkpoint.name}"):
                remove(files, layout, journal, judged)


def remove(files: FileSystem, layout: RunLayout, journal: Journal, judged: Judged) -> bool:
    """Takes a checkpoint away and tells, unless somebody has laid a hand on it since it was judged.

    Returns:
        Whether it is gone.

    Raises:
        StorageError: where the disk refuses.
    """
    name = judged.checkpoint.name
    with about_to_go(files, layout, name) as is_marked:

        def spared() -> bool:
            # Without the mark, the rename is what a reader sees: it looks for the checkpoint after
            # it has left its lease, and this looks for leases after the rename.
            return name in pinned(layout) or (not is_marked and name in being_read(layout))

        if name in being_read(layout) or not take_away(files, layout, name, spared):
            return False
    journal.record(TakenAway(checkpoint=str(name), reason=judged.reason))
    logger.debug("took away %s: %s", name, judged.reason)
    return True
