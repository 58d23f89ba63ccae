"""Decides which commits on a store count, and what is left over. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ckptkit.layout import CheckpointName
from ckptkit.mirror import store_layout
from ckptkit.mirror.store_layout import CommitName
from ckptkit.mirror.store_records import StoreFence


def visible(commits: Iterable[CommitName], fences: Mapping[int, StoreFence]) -> list[CommitName]:
    """Return the commits that count, oldest first; of each checkpoint the largest revision.

    A process that was stopped may wake up after another one has taken the run over, and commit.
    That commit is in no fence, so it does not exist for any reader.

    Args:
        commits: the names of all commit objects.
        fences: the fences by the number of their claim.
    """
    newest: dict[CheckpointName, CommitName] = {}
    for name in sorted(commits, key=lambda each: each.order):
        if not is_shut_out(name, fences):
            newest[name.checkpoint] = name
    return sorted(newest.values(), key=lambda each: each.order)


def is_shut_out(name: CommitName, fences: Mapping[int, StoreFence]) -> bool:
    """Return whether a fence of a later claim does not know a commit."""
    attempt = name.checkpoint.attempt
    return any(number > attempt and not fence.allows(name) for number, fence in fences.items())


@dataclass(frozen=True)
class StartDecision:
    """What a start does with a directory and a store.

    Args:
        fetch: whether the newest commit on the store has to be fetched.
        diverged: checkpoints of the directory that the life on the store has left behind; training
            cannot start then.
        unsent: checkpoints of the directory that no later upload would make visible.
    """

    fetch: bool
    diverged: tuple[CheckpointName, ...] = ()
    unsent: frozenset[CheckpointName] = frozenset()


def decide_start(
    local: Collection[CheckpointName],
    on_store: Collection[CommitName],
    fences: Mapping[int, StoreFence],
) -> StartDecision:
    """Decide whether the directory or the store has the newest checkpoint of the run.

    Args:
        local: the checkpoints in the directory.
        on_store: the commits that count.
        fences: the fences of earlier claims.
    """
    stored = {name.checkpoint for name in on_store}
    unsent = frozenset(
        name for name in local if name not in stored and is_shut_out(CommitName(name), fences)
    )

    newest_stored = max(stored, key=_age, default=None)
    if newest_stored is None:
        return StartDecision(False, unsent=unsent)
    diverged = sorted(name for name in unsent if is_left_behind(name, newest_stored, fences))
    newest_local = max(local, key=_age, default=None)
    fetch = newest_local is None or _age(newest_local) < _age(newest_stored)
    return StartDecision(fetch, tuple(diverged), unsent)


def is_left_behind(
    name: CheckpointName, newest: CheckpointName, fences: Mapping[int, StoreFence]
) -> bool:
    """Return whether training went from an older checkpoint to the newest one on the store.

    Then a directory that has the checkpoint belongs to another life of the run. The fence of an
    attempt tells from what it has resumed: from the newest checkpoint in it. So the attempts are
    followed backwards from the newest checkpoint.

    Args:
        name: a checkpoint of a directory.
        newest: the newest checkpoint on the store.
        fences: the fences by the number of their claim.
    """
    at = newest
    while at.attempt > name.attempt:
        # An attempt without a mirror has no fence. The next one with a mirror lists what it saved.
        number = min((n for n in fences if n >= at.attempt), default=None)
        known = fences[number].checkpoints if number is not None else ()
        before = [each for each in known if each.attempt < at.attempt]
        resumed = max(before, key=_age, default=None)
        if resumed is None or resumed.attempt <= name.attempt:
            return resumed is None or _age(name) > _age(resumed)
        at = resumed
    return False


def _age(name: CheckpointName) -> tuple[int, int]:
    return name.attempt, name.step


def orphans(
    keys: Iterable[str],
    needed: Collection[str],
    shown: Collection[CommitName],
    claim: int,
) -> tuple[list[str], list[str]]:
    """Return the objects that earlier owners have left over.

    Args:
        keys: all keys below the prefix.
        needed: the data keys that some commit object names.
        shown: the commits that count.
        claim: the claim of this process. Data of later claims is not touched.

    Returns:
        Commit objects to delete first, and the other objects to delete after them.
    """
    commits, rest = [], []
    for key in keys:
        if key.startswith(store_layout.COMMITS):
            name = CommitName.parse(key.removeprefix(store_layout.COMMITS))
            if name is not None and name not in shown and name.checkpoint.attempt < claim:
                commits.append(key)
        elif key.startswith(store_layout.PROBE) or (
            (store_layout.data_claim(key) or claim) < claim and key not in needed
        ):
            rest.append(key)
    return commits, rest
