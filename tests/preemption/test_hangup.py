"""A closed terminal (SIGHUP) is a request to stop, unless it is ignored."""

from __future__ import annotations

import ckptkit
from ckptkit.run.events import RunPreempted

PROGRAMS = "tests.preemption.hangup:"


def test_a_closed_terminal_loses_nothing(tf_call, tmp_path):
    """The progress bar can print no more, which does not end the training before it has saved."""
    run = tmp_path / "run"
    code = tf_call(PROGRAMS + "close_terminal", str(run), str(tmp_path / "mark")).check().result
    error = tmp_path / "mark.error"
    assert code == 75, error.read_text() if error.exists() else ""
    stored = ckptkit.open_run(run)
    (stop,) = [event for event in stored.journal if isinstance(event, RunPreempted)]
    assert stop.reason == "SIGHUP"
    assert stored.find("latest").step == stop.step >= 20
    assert "stopped by SIGHUP" in (run / "log" / "training.log").read_text()


def test_it_stays_ignored_where_it_is(tf_call):
    tf_call(PROGRAMS + "ignored").check()
