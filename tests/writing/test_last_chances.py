"""The last save that a run can make is made, whatever came of the ones before it; and each failure
is told once.
"""

from __future__ import annotations

import errno

import pytest

from tests.support.spread import spread

PROGRAMS = "tests.writing.last_chances:"


@pytest.mark.parametrize("how", ["left", "stopped"])
def test_a_state_whose_save_has_failed_is_not_saved(tf_call, tmp_path, how):
    """The program was told, and went on: when it leaves the run at that state, that is saved, and
    only then said to be.
    """
    said = tf_call(PROGRAMS + "told_and_left", str(tmp_path / "run"), how).check().result
    assert said == {
        "first": errno.EACCES,
        "stopped": 100 if how == "stopped" else None,
        "steps": [100],
    }


@pytest.mark.parametrize("how", ["finished", "left", "stopped", "safe point"])
def test_a_failure_that_nobody_was_told_of_does_not_prevent_the_last_save(tf_call, tmp_path, how):
    said = tf_call(PROGRAMS + "not_told", str(tmp_path / "run"), how, "").check().result
    assert (said["raised"], said["errno"], said["notes"]) == (
        "BackgroundSaveError",
        errno.EACCES,
        [],
    )
    assert said["steps"] == ([2] if how == "left" else [3])
    assert said["final"] == [how == "finished"]


@pytest.mark.parametrize("how", spread(["finished", "left", "stopped"], 1))
def test_two_failures_are_told_both(tf_call, tmp_path, how):
    said = tf_call(PROGRAMS + "not_told", str(tmp_path / "run"), how, "EIO").check().result
    assert (said["raised"], said["errno"]) == ("BackgroundSaveError", errno.EACCES)
    (note,) = said["notes"]
    assert "StorageError" in note
    assert "ckpt-2.data" in note if how == "left" else "ckpt-3.data" in note
    assert "system's log" in note
    assert said["steps"] == []


def test_a_failure_that_is_told_at_the_end_says_what_ended_the_run(tf_call, tmp_path):
    """Python shows the cause of an error, and not what it came after."""
    said = tf_call(PROGRAMS + "not_told", str(tmp_path / "run"), "raised", "").check().result
    assert (said["raised"], said["errno"]) == ("BackgroundSaveError", errno.EACCES)
    assert said["notes"] == ["The run was being closed after ValueError: the program's own"]
    assert said["steps"] == []


def test_a_failure_during_an_evaluation_does_not_prevent_the_last_resort(tf_call, tmp_path):
    """The timer saves what was held in reserve; the training thread is told of the failure when it
    comes by.
    """
    process = tf_call(PROGRAMS + "in_an_evaluation", str(tmp_path / "run")).check()
    said = process.result
    assert (said["error"]["kind"], said["error"]["errno"]) == ("BackgroundSaveError", errno.EACCES)
    assert said["decided"] == ["reserve"]
    assert said["failed"] == [7]
    assert said["steps"] == [8]
    assert "Exception in thread" not in process.stderr


def test_what_waits_when_the_run_is_let_go_of_is_in_the_journal(tf_call, tmp_path):
    said = tf_call(PROGRAMS + "let_go_of_with_one_waiting", str(tmp_path / "run")).check().result
    assert said == {
        "steps": [],
        "dropped": [[2, "the run was closed while an earlier one was being written"]],
    }


def test_that_the_run_is_somebody_elses_is_told_once(tf_call, tmp_path):
    """Whatever is tried after that fails in the same way."""
    assert tf_call(PROGRAMS + "of_a_lost_run", str(tmp_path / "run")).check().result == {
        "notes": [],
        "steps": [1],
    }


def test_nothing_of_a_lost_run_is_taken_for_saved(tf_call, tmp_path):
    assert (
        tf_call(PROGRAMS + "of_a_lost_run_that_saves_again", str(tmp_path / "run")).check().result
        == 3
    )


@pytest.mark.parametrize(
    "thread", spread(["ckptkit-writer", "ckptkit-control", "ckptkit-drain"], 2)
)
def test_a_fit_that_is_collected_on_a_thread_that_its_end_waits_for(tf_call, tmp_path, thread):
    process = tf_call(PROGRAMS + "collected", str(tmp_path / "run"), thread).check()
    said = process.result
    assert said["open"] == [True, False]
    assert said["outcomes"] == ["failed"]
    assert 2 in said["steps"]
    assert "Traceback" not in process.stderr


def test_a_run_is_opened_while_a_fit_that_was_left_lets_go_of_it(tf_call, tmp_path):
    assert tf_call(PROGRAMS + "opened_anew", str(tmp_path / "run")).check().result[-1] == 8
