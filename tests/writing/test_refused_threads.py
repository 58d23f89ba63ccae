"""A machine that grants no further thread: saves run in the foreground, and nothing hangs."""

from __future__ import annotations

import pytest

PROGRAMS = "tests.writing.refused_threads:"


@pytest.mark.parametrize("large", [False, True])
def test_a_manager_saves_in_the_foreground_and_warns_once(tf_call, tmp_path, large):
    """From Python 3.12 on this also happens in an interpreter that exits."""
    process = tf_call(PROGRAMS + "manager_without_threads", str(tmp_path / "run"), large).check()
    assert process.result == {"steps": [1, 2]}
    assert process.stderr.count("saving in the foreground, without a background thread") == 1


def test_another_thread_can_abandon_a_save_in_the_foreground(tf_call):
    assert tf_call(PROGRAMS + "abandoned_by_another_thread").check().result == {"hangs": False}


def test_a_failure_in_the_foreground_is_raised_once_and_the_next_save_runs(tf_call):
    assert tf_call(PROGRAMS + "failing_job").check().result == {
        "errors": ["OSError('no space')"],
        "done": [2],
        "busy": False,
    }


def test_an_interrupt_in_the_foreground_is_raised_at_once_and_leaves_an_idle_writer(tf_call):
    assert tf_call(PROGRAMS + "interrupted_job").check().result == {
        "raised": True,
        "busy": False,
        "dropped": 1,
        "done": [3],
    }


def test_a_file_that_no_thread_follows_has_the_right_digest(tf_call, tmp_path, seed):
    result = tf_call(PROGRAMS + "file_that_is_not_followed", str(tmp_path), seed).check().result
    assert result == {"same": True, "size_bytes": 2 * 8 * 1024 * 1024 + 77}
