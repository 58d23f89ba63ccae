"""The pure decisions of a mirror: what counts, what is uploaded, what fits into the time left."""

from __future__ import annotations

import pytest

from ckptkit.layout import CheckpointName
from ckptkit.mirror.store_layout import CommitName, is_small_file
from ckptkit.mirror.store_records import StoreFence
from ckptkit.mirror.upload_plan import decide_upload, to_remove, to_upload
from ckptkit.mirror.visible_commits import decide_start, visible
from ckptkit.policies import Candidate, KeepBest, KeepLatest


def name(step: int, attempt: int) -> CheckpointName:
    return CheckpointName(step, attempt)


def commit(step: int, attempt: int, revision: int = 1) -> CommitName:
    return CommitName(name(step, attempt), revision)


def candidate(step: int, loss: float | None = None) -> Candidate:
    return Candidate(
        name=f"ckpt-{step}-1", step=step, metrics={} if loss is None else {"loss": loss}
    )


def test_the_largest_revision_counts_and_a_later_attempt_is_newer():
    found = visible([commit(9, 1), commit(5, 2), commit(5, 2, 2)], {})
    assert found == [commit(9, 1), commit(5, 2, 2)]


def test_a_fence_hides_what_it_does_not_know():
    fence = StoreFence(seen=("ckpt-4-1.1",), held=("ckpt-6-1",))
    names = [commit(4, 1), commit(4, 1, 2), commit(5, 1), commit(6, 1, 3), commit(5, 2)]
    assert visible(names, {2: fence}) == [commit(4, 1), commit(6, 1, 3), commit(5, 2)]


@pytest.mark.parametrize(
    ("local", "stored", "fences", "fetch", "diverged", "unsent"),
    [
        ([], [], {}, False, (), ()),
        ([(1, 1)], [], {}, False, (), ()),
        ([], [(1, 1)], {}, True, (), ()),
        ([(2, 1)], [(1, 1)], {}, False, (), ()),
        ([(1, 1)], [(1, 1), (2, 2)], {2: ["ckpt-1-1.1"]}, True, (), ()),
        # Another machine took the run, and saved nothing: the directory continues.
        ([(1, 1), (2, 1)], [(1, 1)], {2: ["ckpt-1-1.1"]}, False, (), [(2, 1)]),
        # It has saved: two lives.
        ([(2, 1)], [(1, 1), (2, 2)], {2: ["ckpt-1-1.1"]}, True, [(2, 1)], [(2, 1)]),
    ],
)
def test_what_a_start_does(local, stored, fences, fetch, diverged, unsent):
    decision = decide_start(
        [name(*each) for each in local],
        [commit(*each) for each in stored],
        {number: StoreFence(seen=tuple(seen)) for number, seen in fences.items()},
    )
    assert decision.fetch is fetch
    assert decision.diverged == tuple(name(*each) for each in diverged)
    assert decision.unsent == {name(*each) for each in unsent}


def test_the_newest_is_uploaded_first_and_nothing_that_would_be_deleted_at_once():
    local = [candidate(step) for step in (1, 2, 3)]
    assert to_upload(KeepLatest(2), local, []) == ["ckpt-3-1", "ckpt-2-1"]
    assert to_upload(KeepLatest(2), local, local[2:]) == ["ckpt-2-1"]
    assert to_upload(KeepLatest(1), local, local[2:]) == []
    assert to_upload(KeepLatest(1), local, local[2:], ["ckpt-3-1"]) == ["ckpt-3-1"]
    pinned = {"ckpt-1-1": "pinned"}
    assert to_upload(KeepLatest(1), local, local[2:], protected=pinned) == ["ckpt-1-1"]


def test_the_policy_decides_what_leaves_the_store():
    stored = [candidate(1, 0.1), candidate(2, 0.3), candidate(3, 0.2)]
    assert set(to_remove(KeepLatest(1) | KeepBest("loss"), stored)) == {"ckpt-2-1"}
    assert not to_remove(KeepLatest(1), stored[:1])


@pytest.mark.parametrize(
    ("left_secs", "size_bytes", "bytes_per_sec", "action"),
    [
        (None, 10**12, 1.0, "save"),
        (0.5, 10**12, None, "save"),
        (10.0, 1000, 100.0, "save"),
        (9.9, 1000, 100.0, "keep"),
        (0.0, 0, 100.0, "save"),
    ],
)
def test_an_upload_that_does_not_fit_into_the_grace_is_not_awaited(
    left_secs, size_bytes, bytes_per_sec, action
):
    decision = decide_upload(
        left_secs=left_secs, size_bytes=size_bytes, bytes_per_sec=bytes_per_sec
    )
    assert decision.action == action
    assert decision.reason


@pytest.mark.parametrize(
    ("path", "travels"),
    [
        ("journal/attempt-000001.jsonl", True),
        ("journal/launcher-0c2f.jsonl", True),
        ("pins/ckpt-600-2.json", True),
        ("seed/seed.json", True),
        ("fresh/" + "a" * 32 + ".json", True),
        ("architecture/" + "0" * 32 + ".json", True),
        ("pins/.reading-4f1c", False),
        ("journal/../../x.jsonl", False),
        ("journal/launcher-x/../../../evil.jsonl", False),
        ("journal/attempt-1.jsonl/x", False),
        ("lock/000001", False),
        ("/etc/passwd", False),
        ("checkpoints/checkpoint", False),
    ],
)
def test_only_known_files_are_written_into_a_directory(path, travels):
    """Names come from the store, which may be a stranger's."""
    assert is_small_file(path) is travels
