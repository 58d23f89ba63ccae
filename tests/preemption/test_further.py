"""A program trains on after it has come to an end: what it does then is a part of the run like all
before.
"""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("how", "code", "outcome"), [("stop", 75, "preempted"), ("break", None, "stopped")]
)
def test_what_a_further_loop_has_done_is_saved_when_it_is_left(
    tf_call, tmp_path, how, code, outcome
):
    said = (
        tf_call("tests.preemption.further:leave_in_the_second_loop", str(tmp_path / "run"), how)
        .check()
        .result
    )
    assert said == {"code": code, "step": 5, "weight": 5.0, "outcome": [outcome]}
