"""What a program draws without a generator of its own is part of the state."""

from __future__ import annotations

import signal

import pytest


def digest(tf_call, program, run, seed, *more, deaths=()):
    """Return what a program ends with after it was killed as often as `deaths` says."""
    for dies in deaths:
        process = tf_call(f"tests.tracking.random_programs:{program}", str(run), seed, dies, *more)
        assert process.wait() == -signal.SIGKILL, process.output()
    process = tf_call(f"tests.tracking.random_programs:{program}", str(run), seed, 0, *more)
    return process.check().result


@pytest.mark.parametrize(
    ("program", "more"), [("steps", ()), ("epochs", ()), ("fit", (False,)), ("fit", (True,))]
)
def test_two_kills_change_nothing_that_is_drawn(tf_call, tmp_path, seed, program, more):
    whole = digest(tf_call, program, tmp_path / "whole", seed, *more)
    other = digest(tf_call, program, tmp_path / "other", seed + 1, *more)
    assert whole != other, "the test proves nothing where the seed has no effect"
    killed = digest(tf_call, program, tmp_path / "killed", seed, *more, deaths=(3, 4))
    assert killed == whole


def test_a_checkpoint_of_an_earlier_version_leaves_the_eager_state(tf_call, tmp_path):
    program = "tests.tracking.random_programs:older_checkpoint"
    assert tf_call(program, str(tmp_path / "run")).check().result == [True, True]


def test_a_state_encoded_later_on_another_thread_is_that_of_its_moment(tf_call, seed):
    program = "tests.tracking.random_programs:encoded_later"
    assert tf_call(program, seed).check().result == [True, True, True]
