"""What a resume reads and when, and that damage is noticed whatever a verdict says."""

from __future__ import annotations

import pytest

PROGRAMS = "tests.session.resume_reading_programs:"


@pytest.mark.parametrize(
    ("steps", "restored"),
    [
        ([], 2),
        (["verdict"], 2),
        (["damage"], 1),
        (["verdict", "damage"], 1),
        (["damage", "verdict"], 1),
    ],
    ids=lambda value: "-".join(value) or "intact" if isinstance(value, list) else "",
)
def test_a_loop_reads_every_byte_once(tf_call, tmp_path, seed, steps, restored):
    done = tf_call(PROGRAMS + "loop", str(tmp_path / "run"), seed, steps).check().result
    assert (done["step"], done["is_right"]) == (restored, True)
    assert done["quarantine"] == ([] if restored == 2 else ["ckpt-2-1"])
    assert done["threads"] == []
    if restored == 2:
        assert 1 <= done["copies"] < 1.5, "it was read twice"


def test_a_program_that_catches_an_error_gets_what_was_saved_since(tf_call, tmp_path):
    copies, step, value = tf_call(PROGRAMS + "after_a_conflict", str(tmp_path)).check().result
    assert copies < 0.5, "hyperparameters are compared before all values are read"
    assert (step, value) == (2, 3.0)


def test_settings_of_a_damaged_checkpoint_are_not_applied(tf_call, tmp_path, seed):
    program = PROGRAMS + "settings_of_a_damaged_checkpoint"
    done = tf_call(program, str(tmp_path / "run"), seed).check().result
    assert done == [2, 0.75, 1, 0.125]


def test_the_time_of_a_restore_contains_reading(tf_call, tmp_path):
    assert tf_call(PROGRAMS + "seconds_of_reading", str(tmp_path / "run")).check().result is True


def test_fit_verifies_then_reads_where_it_assigns(tf_call, tmp_path, seed):
    """With the launcher's verdict it reads once, and damage is found nevertheless."""
    run = str(tmp_path / "run")
    program = PROGRAMS + "fit_with_a_verdict"
    message, same, without, told = tf_call(program, run, seed).check().result
    assert "Start again" in message
    assert same
    assert without["newest"] > 0.9
    assert told["newest"] < 0.5, "verified again"
    assert 0.9 < without["restore"] < 1.5
    assert 0.9 < told["restore"] < 1.5, "values were read before they were needed"
