"""What a launcher hears of a program that ends without closing its run."""

from __future__ import annotations

import os

import pytest

from ckptkit.run.launcher_channel import Channel

PROGRAMS = "tests.session.exit_programs:"


@pytest.mark.parametrize(
    ("program", "code", "outcome", "error"),
    [("left_open", 0, "stopped", None), ("left_by_an_exception", 1, "failed", "ValueError")],
)
def test_a_program_that_leaves_its_run_open_reports_its_end(
    tf_call, tmp_path, program, code, outcome, error
):
    """Below a pipe, a launcher would take a silent end for a killed process."""
    channel = Channel(tmp_path / "channel")
    channel.directory.mkdir()
    descriptor = channel.open()
    environment = {"CKPTKIT_LAUNCHER": str(channel.directory)}
    tf_call(PROGRAMS + program, str(tmp_path / "run"), env=environment).check(code=code)
    os.close(descriptor)
    said = channel.read()
    assert said is not None
    assert (said.outcome, said.failure and said.failure.error) == (outcome, error)
