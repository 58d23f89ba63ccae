"""A resume reads a checkpoint once, on threads, and damage is noticed whatever a verdict says."""

from __future__ import annotations

import pytest

PROGRAMS = "tests.session.read_ahead_programs:"


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


def test_fit_continues_the_same_bits_from_what_it_read_early(tf_call, tmp_path, seed):
    run = str(tmp_path / "run")
    message, quarantined, same = tf_call(PROGRAMS + "fit_with_a_verdict", run, seed).check().result
    assert "Start again" in message
    assert quarantined
    assert same
