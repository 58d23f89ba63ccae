"""Whatever is damaged, a start falls back or is not touched by it; never is another value restored
than one that was saved.
"""

from __future__ import annotations

import random

import pytest

FILES = {
    "ckpt-3-1/ckpt-3.index",
    "ckpt-3-1/ckpt-3.data-00000-of-00001",
    "ckpt-3-1/manifest.json",
    "checkpoint",
    "journal/attempt-000001.jsonl",
    "lock/000001/owner.json",
    "lock/000001/alive",
}


@pytest.fixture(
    scope="module",
    params=[15, pytest.param(200, marks=pytest.mark.long)],
    ids="{} flips a file".format,
)
def matrix(request, fork_server, tmp_path_factory):
    seed = random.SystemRandom().randrange(2**31)
    print(f"seed={seed}")
    process = fork_server.call(
        "tests.campaigns.crash.damage:matrix",
        str(tmp_path_factory.mktemp("damage")),
        seed,
        request.param,
        request.param // 5,
    )
    said = process.check(timeout=500).result
    for file, counts in said["files"].items():
        print(f"{file:40}", ", ".join(f"{name} {count}" for name, count in counts.items()))
    print("wrong", len(said["wrong"]), *said["wrong"][:5], sep="\n  ")
    print("refused", *said["refusals"], sep="\n  ")
    return said


def test_nothing_wrong_is_restored(matrix):
    assert matrix["wrong"] == []
    assert set(matrix["files"]) == FILES


def test_damage_to_the_newest_checkpoint_is_always_detected(matrix):
    for file in [file for file in FILES if file.startswith("ckpt-3-1/")]:
        counts = matrix["files"][file]
        assert counts["detected"] == counts["tried"] > 30, file
        assert counts["restored"], file


def test_damage_beside_the_checkpoints_is_harmless_or_said(matrix):
    for file in [file for file in FILES if not file.startswith("ckpt-3-1/")]:
        counts = matrix["files"][file]
        assert counts["detected"] == 0, f"{file}: a good checkpoint was passed over"
        assert counts["harmless"] >= counts["tried"] - 3, (
            f"{file}: refused are only links and directories in its place"
        )
