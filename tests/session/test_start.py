"""The start of a session is a transaction: if it fails, the process is as before."""

from __future__ import annotations

import signal
import time

import pytest

import ckptkit
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.report.unsaved_steps import at_least

PROGRAMS = "tests.session.start_programs:"


@pytest.mark.parametrize("which", ["control", "lock"])
def test_a_refused_thread_leaves_neither_handlers_nor_a_lock(tf_call, tmp_path, which):
    """The process still dies of SIGTERM, and the run is free for the next one."""
    tf_call(PROGRAMS + "refused", str(tmp_path / "run"), which).check(code=-signal.SIGTERM)


def test_a_refused_thread_for_signals_leaves_no_handlers(tf_call):
    tf_call(PROGRAMS + "refused_to_the_handlers").check()


def test_steps_counted_by_hand_are_lost_with_a_word(tf_call, tmp_path):
    """The process is killed before the first line of progress, which comes after seconds."""
    run = tmp_path / "run"
    tf_call(PROGRAMS + "counts_by_hand", str(run), True).check(code=-signal.SIGKILL)
    told = tf_call(PROGRAMS + "counts_by_hand", str(run), False).check().result
    assert any("attempt 1 " in each and "died before its first save" in each for each in told), told
    ledger = ledger_of(ckptkit.open_run(run).journal, time.time())
    assert ledger.attempts[0].left_no_word
    assert at_least(ledger.attempts[0].steps_lost, left_no_word=True) == "?"
