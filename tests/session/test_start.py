"""The start of a session is a transaction: if it fails, the process is as before."""

from __future__ import annotations

import signal

import pytest

PROGRAMS = "tests.session.start_programs:"


@pytest.mark.parametrize("which", ["control", "lock"])
def test_a_refused_thread_leaves_neither_handlers_nor_a_lock(tf_call, tmp_path, which):
    """The process still dies of SIGTERM, and the run is free for the next one."""
    tf_call(PROGRAMS + "refused", str(tmp_path / "run"), which).check(code=-signal.SIGTERM)


def test_a_refused_thread_for_signals_leaves_no_handlers(tf_call):
    tf_call(PROGRAMS + "refused_to_the_handlers").check()
