"""The machine goes away: what is saved in the time that is left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import ckptkit
from ckptkit.cli.request_answers import answer_by_end
from tests.support.journals import events_of
from tests.support.polling import until
from tests.support.spread import spread

HERE = Path(__file__).parent


def test_training_that_comes_to_no_safe_point(tf_process, tmp_path):
    """The state from before the evaluation is committed without the training thread, and the next
    start goes on from it.
    """
    run = tmp_path / "run"
    process = tf_process(HERE / "holds.py", run, "sits", cwd=tmp_path)
    until((tmp_path / "sits").exists, process=process)
    process.send_signal(signal.SIGTERM)
    until(lambda: events_of(run, "emergency_decided"), process=process)
    until(lambda: events_of(run, "saved")[-1].step == 8, process=process)
    assert process.kill() == -signal.SIGKILL
    (decided,) = events_of(run, "emergency_decided")
    assert decided.action == "reserve"
    assert decided.time - events_of(run, "signal_received")[0].time < 3
    again = tf_process(HERE / "holds.py", run, "no", cwd=tmp_path).check()
    assert "step 8" in again.stderr
    assert ckptkit.open_run(run).find("latest").step == 12


@pytest.mark.parametrize(
    ("grace_secs", "action"), spread([(3, "finish"), (0.3, "keep"), (60, "save")], 3)
)
def test_a_save_is_being_written(tf_process, tmp_path, grace_secs, action):
    """Two seconds for each save: the one that is being written is finished where there is time, and
    another one follows where there is more.
    """
    run = tmp_path / "run"
    process = tf_process(HERE / "slow.py", run, grace_secs, cwd=tmp_path)
    until((tmp_path / "continues").exists, process=process)
    until((tmp_path / "writes").exists, process=process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75
    (decided,) = events_of(run, "emergency_decided")
    assert decided.action == action, decided.reason
    (preempted,) = events_of(run, "preempted")
    newest = ckptkit.open_run(run).find("latest").step
    assert (
        preempted.step == newest
    )  # what was being written is committed all the same, where the machine lives on
    assert newest == 100 if action != "save" else newest > 100
    answer = answer_by_end(
        ckptkit.open_run(run).journal
    )  # of whoever had asked for a checkpoint meanwhile
    assert answer is not None
    assert answer.done == (action == "save"), answer.words
    assert action == "save" or answer.words.endswith(
        "which was not saved; the newest checkpoint is of step 100"
    )
