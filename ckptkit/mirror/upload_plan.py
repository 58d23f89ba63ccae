"""Decides what to upload next, what stays on a store, and what fits into the time left. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckptkit.policies import Candidate, KeepPolicy, judge
from ckptkit.preemption.emergency import EmergencyDecision


def to_upload(
    policy: KeepPolicy,
    local: Sequence[Candidate],
    stored: Sequence[Candidate],
    outdated: Sequence[str] = (),
    protected: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the checkpoints to upload, newest first.

    A checkpoint that the policy would delete from the store at once is not uploaded.

    Args:
        policy: decides which checkpoints stay on the store.
        local: the checkpoints in the directory, oldest first.
        stored: the checkpoints on the store, oldest first.
        outdated: checkpoints whose commit on the store is of an earlier save at the same step.
        protected: checkpoints that stay regardless of the policy, with the reason.
    """
    have = {each.name for each in stored} - set(outdated)
    union = {each.name: each for each in [*stored, *local]}
    ordered = sorted(union.values(), key=lambda each: _age(each.name))
    verdicts = judge(policy, ordered, protected=protected)
    stays = {verdict.name for verdict in verdicts if verdict.stays}
    return [each.name for each in reversed(local) if each.name in stays and each.name not in have]


def to_remove(
    policy: KeepPolicy, stored: Sequence[Candidate], protected: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the checkpoints to delete from the store, with the reason of each.

    The newest one always stays, and the newest one with finite metrics.
    """
    verdicts = judge(policy, stored, protected=protected)
    return {verdict.name: verdict.reason for verdict in verdicts if not verdict.stays}


def _age(name: str) -> tuple[int, int]:
    _, step, attempt = name.split("-")
    return int(attempt), int(step)


def decide_upload(
    *, left_secs: float | None, size_bytes: int, bytes_per_sec: float | None
) -> EmergencyDecision:
    """Decide whether to wait for an upload before the machine goes away.

    Args:
        left_secs: seconds until the machine goes away; None if unknown.
        size_bytes: how much is not yet on the store.
        bytes_per_sec: the speed of the slowest of the last uploads; None if none was timed.
    """
    if left_secs is None:
        return EmergencyDecision("save", "there is no deadline")
    if bytes_per_sec is None:
        return EmergencyDecision("save", f"{left_secs:.1f} s are left, and no upload was timed yet")
    needed_secs = size_bytes / bytes_per_sec
    if needed_secs <= left_secs:
        return EmergencyDecision(
            "save", f"{left_secs:.1f} s are left, and the upload takes {needed_secs:.1f} s"
        )
    return EmergencyDecision(
        "keep",
        f"{left_secs:.1f} s are left, and the upload takes {needed_secs:.1f} s: the newest "
        "checkpoint on the object store counts",
    )
