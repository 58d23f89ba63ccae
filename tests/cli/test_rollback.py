"""`ckptkit rollback`: the next start resumes from an older checkpoint, and nothing is deleted."""

from __future__ import annotations

import json

import pytest

from ckptkit.clock import SystemClock
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_state_file import state_file_content
from ckptkit.run.events import AttemptEnded, Finished, RolledBack
from ckptkit.run.journal_reader import read_journal


@pytest.fixture
def finished(dummy_run):
    """Steps 100 to 300 of a first attempt, and 200 and 400 of a second one that went back and
    finished.
    """
    dummy_run.attempt()
    first = {
        step: dummy_run.save(step, data=b"tensors " * (200_000 if step == 300 else 100))
        for step in (100, 200, 300)
    }
    dummy_run.attempt()
    second = {step: dummy_run.save(step, final=step == 400) for step in (200, 400)}
    dummy_run.record(Finished(step=400, epoch=4)).record(AttemptEnded(outcome="finished", step=400))
    return first, second


def names(run):
    return [str(checkpoint.name) for checkpoint in list_checkpoints(run.layout)]


def test_newer_ones_are_set_aside_and_the_run_goes_on_from_there(finished, dummy_run, ckptkit):
    """Newer is what a later attempt wrote, also at a lower step."""
    result = ckptkit("rollback", "run", "300", "--yes")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "set aside ckpt-400-2, ckpt-200-2 in aside/rolled-back-000003: the next start "
        "resumes from ckpt-300-1\n"
    )
    assert names(dummy_run) == ["ckpt-100-1", "ckpt-200-1", "ckpt-300-1"]
    aside = dummy_run.layout.aside / "rolled-back-000003"
    assert sorted(path.name for path in aside.iterdir()) == ["ckpt-200-2", "ckpt-400-2"]
    assert (aside / "ckpt-400-2" / "manifest.json").is_file()
    (event,) = [
        event for event in read_journal(dummy_run.layout).events if isinstance(event, RolledBack)
    ]
    assert (event.checkpoint, event.step, event.set_aside, event.attempt) == (
        "ckpt-300-1",
        300,
        ["ckpt-400-2", "ckpt-200-2"],
        3,
    )
    assert dummy_run.layout.state_file.read_bytes() == state_file_content(
        [c.name for c in list_checkpoints(dummy_run.layout)]
    )

    found = json.loads(ckptkit("list", "run", "--json").stdout)
    assert (found["state"], found["words"]) == (
        "stopped",
        "rolled back to step 300; the next start resumes from there",
    )
    assert (found["attempts"], found["rolled_back"], found["set_aside"]) == (2, 2, 0)
    assert (
        "2 checkpoints in aside/: newer than what the run was rolled back to"
        in ckptkit("list", "run").stdout
    )
    assert json.loads(ckptkit("show", "run", "--json").stdout)["name"] == "ckpt-300-1"


def test_the_attempt_after_it_is_what_counts_then(finished, dummy_run, called):
    called("rollback", "run", "300", "--yes")
    dummy_run.attempt()
    dummy_run.save(400, final=True)
    dummy_run.record(Finished(step=400, epoch=4)).record(AttemptEnded(outcome="finished", step=400))
    found = json.loads(called("list", "run", "--json").stdout)
    assert (found["state"], found["attempts"], found["checkpoints"][-1]["name"]) == (
        "finished",
        3,
        "ckpt-400-4",
    )


def test_a_second_rollback_has_a_place_of_its_own(finished, dummy_run, called):
    called("rollback", "run", "300", "--yes")
    result = called("rollback", "run", "100", "--yes", "--json")
    assert json.loads(result.stdout) == {
        "version": 1,
        "run": "run",
        "dry_run": False,
        "checkpoint": "ckpt-100-1",
        "step": 100,
        "set_aside": ["ckpt-300-1", "ckpt-200-1"],
        "moved_to": "aside/rolled-back-000004",
    }
    assert names(dummy_run) == ["ckpt-100-1"]


def test_undoing_it_is_moving_them_back(finished, dummy_run, called):
    before = names(dummy_run)
    called("rollback", "run", "100", "--yes")
    for path in (dummy_run.layout.aside / "rolled-back-000003").iterdir():
        path.rename(dummy_run.layout.checkpoints / path.name)
    assert names(dummy_run) == before
    assert called("verify", "run", "--all").returncode == 0


def test_a_dry_run_changes_nothing(finished, dummy_run, called):
    before = {path: path.stat().st_mtime_ns for path in dummy_run.root.rglob("*")}
    result = called("rollback", "run", "300", "--dry-run")
    assert result.returncode == 0
    assert result.stdout.startswith("would set aside ckpt-400-2, ckpt-200-2,")
    assert {path: path.stat().st_mtime_ns for path in dummy_run.root.rglob("*")} == before


def test_the_newest_is_gone_back_to_without_a_word_to_the_journal(finished, dummy_run, called):
    result = called("rollback", "run", "400", "--yes")
    assert (result.returncode, result.stdout) == (
        0,
        "ckpt-400-2 already is the newest checkpoint: the next start resumes from it\n",
    )
    assert not dummy_run.layout.attempt_journal(3).exists()


def test_a_run_that_is_training_is_locked(finished, dummy_run, ckptkit):
    before = names(dummy_run)
    lock = RunLock(dummy_run.files, dummy_run.layout, SystemClock())
    try:
        assert ckptkit("rollback", "run", "300", "--yes").returncode == 11
    finally:
        lock.release()
    assert names(dummy_run) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["150", "--yes"], 1),
        (["300"], 2),
        ([], 2),
        (["oldest"], 2),
        (["best", "--yes"], 1),
    ],
    ids=str,
)
def test_what_cannot_be_right_moves_nothing(finished, dummy_run, called, arguments, code):
    before = names(dummy_run)
    assert called("rollback", "run", *arguments).returncode == code
    assert names(dummy_run) == before


def test_a_damaged_one_is_not_gone_back_to(finished, dummy_run, called):
    file = finished[0][300] / "ckpt-300.data-00000-of-00001"  # larger than what a quick look reads
    file.write_bytes(file.read_bytes().upper())
    before = names(dummy_run)
    result = called("rollback", "run", "300", "--yes")
    assert result.returncode == 3
    assert "300.data-00000-of-00001" in result.stderr
    assert "digest" in result.stderr
    assert names(dummy_run) == before
    assert called("rollback", "run", "200", "--yes").returncode == 0
    assert names(dummy_run) == ["ckpt-100-1", "ckpt-200-1", "ckpt-300-1", "ckpt-200-2"], (
        "of one step, the highest attempt"
    )
