"""Tensors that are read in groups on several threads."""

from __future__ import annotations

PROGRAMS = "tests.bundle.parallel_read_programs:"


def test_groups_of_any_size_give_the_same_values(tf_call, tmp_path, seed):
    """Also if the system refuses the first thread, or the second one."""
    same, started, left = tf_call(PROGRAMS + "groups", str(tmp_path), seed).check().result
    assert same == [True] * 6
    # The random sizes may make fewer than four groups of 3,000 bytes.
    assert started[:2] == [3, 3]
    assert 1 <= started[2] <= 3
    assert started[3] == 0, "a single group needs no thread"
    assert left == []


def test_an_error_ends_all_threads_and_keeps_no_values(tf_call, tmp_path, seed):
    program = PROGRAMS + "error_in_a_later_group"
    damage, stopped, kept = tf_call(program, str(tmp_path), seed).check().result
    assert damage == "unreadable"
    assert stopped
    assert kept == []


def test_an_interrupted_reading_stops(tf_call, tmp_path, seed):
    done = tf_call(PROGRAMS + "interrupted", str(tmp_path), seed).check().result
    assert done == ["interrupted", True]
