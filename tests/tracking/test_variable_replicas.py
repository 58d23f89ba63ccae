"""A variable of a callback has the values of all its replicas again after a resume."""

from __future__ import annotations

import pytest

PROGRAM = "tests.tracking.replica_callbacks:train"


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(2, [2.0, 20.0]), (4, [22.0, 0.0, 0.0, 0.0]), (1, [22.0])],
    ids=["as many", "more", "one"],
)
def test_a_callback_of_two_replicas(devices, expected, tf_call, tmp_path):
    run = str(tmp_path / "run")
    assert tf_call(PROGRAM, run, 2, 2).check().result == [0.0, 0.0]
    assert tf_call(PROGRAM, run, devices, 3).check().result == expected
