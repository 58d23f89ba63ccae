"""No file that was made on purpose ends the process that reads it: every error is an exception."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("forged_sources.py")


def ends(tf_process, directory, seed, count):
    process = tf_process(PROGRAM, directory, seed, count)
    process.check(timeout=3000)
    found = json.loads(process.stdout.splitlines()[-1])
    assert sum(found.values()) == count
    known = ("Error", "read")
    wrong = {end: number for end, number in found.items() if not end.endswith(known) or ":" in end}
    assert wrong == {}, process.stderr[-2000:]
    return found


def test_no_forged_file_ends_the_process(tf_process, tmp_path, seed):
    found = ends(tf_process, tmp_path, seed, 40)
    assert found["CorruptCheckpointError"] > 20


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_forged_file_of_many_ends_the_process(tf_process, tmp_path, seed):
    ends(tf_process, tmp_path, seed, 2000)
