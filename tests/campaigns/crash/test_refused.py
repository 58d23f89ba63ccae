"""A disk that refuses: at each operation of a save once, or from there on, or because it is full.
Nothing is lost, and the next save succeeds.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from ckptkit.policies import KeepLatest
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.journal_reader import read_journal
from tests.campaigns.crash.recovery_check import names_after, newest_serial, problem_of
from tests.campaigns.crash.run_process import RunProcess, Tape
from tests.campaigns.crash.test_sweeps import ROOT
from tests.support.disks import Unsynced
from tests.support.machine import NOT_PERMITTED


def begun(root, tape):
    """Two saves, and a third one at the step of the second."""
    process = RunProcess(root, tape).begin()
    process.save(10, 1)
    process.save(20, 2)
    tape.steps.clear()
    return process


def newest_in_order(root):
    """What a process finds that comes now and puts the run in order; a copy of it."""
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    layout = RunProcess(copy, Unsynced()).layout
    clean_up(Unsynced(), layout)
    newest = newest_serial(list_checkpoints(layout))
    shutil.rmtree(copy)
    return newest


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from there on"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_refused_at_every_operation(tmp_path, number, lasting):
    at, said = 0, []
    while True:
        at += 1
        root, tape = tmp_path / str(at), Tape()
        root.mkdir()
        process = begun(root, tape)
        tape.fail(number, at=at, times=None if lasting else 1, after_bytes=10)
        refused = process.try_save(20, 3, KeepLatest(1))
        if not tape.reached:
            break
        where = f"operation {at} refused"
        newest = newest_in_order(root)
        assert newest in (2, 3), where
        if refused is None:
            assert newest == 3, f"{where}: a save that was not refused is there"
        else:
            said.append(refused)
            assert refused.errno == number
        if not lasting:
            debris = {name for name in names_after(process.layout) if name.startswith(".writing")}
            assert not debris, where
        tape.heal()
        assert process.try_save(30, 4, KeepLatest(1)) is None, where
        assert newest_serial(list_checkpoints(process.layout)) == 4, where
        view = read_journal(process.layout)
        assert len(view.damaged) <= (3 if lasting else 0), (
            f"{where}: at most what was refused is damaged"
        )
        assert [event.step for event in view.events if event.event == "saved"][-1] == 30, (
            "half a line spoils no other one"
        )
        process.end()
        assert problem_of(root, 4, 4, torn=3 if lasting else 0) is None, where
    assert at > 25, "all operations of a save, with what it takes away"
    assert len(said) > 12, "and most of them stop it"


def test_a_disk_that_is_full(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaigns.crash.full_disk", str(tmp_path / "disk")],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode == NOT_PERMITTED:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    refused = [each for each in said if each["refused"]]
    assert len(refused) >= 3, "the save fails at different places"
    assert {each["refused"] for each in refused} == {"ENOSPC"}
    assert len(said) > len(refused), "and succeeds where there is room enough"
    for each in said:
        assert each["debris"] == [], each
        assert each["newest"] == (1 if each["refused"] else 0), each
        assert each["after"] is None, each
        assert each["at last"] == 0, each


def test_a_torn_line_of_the_journal_that_cannot_be_mended_is_counted(tmp_path):
    tape = Tape()
    process = begun(tmp_path, tape)
    tape.fail(
        errno.ENOSPC,
        when=lambda step: step.kind == "Append" and step.path.suffix == ".jsonl",
        after_bytes=10,
    )
    tape.fail(errno.ENOSPC, when=lambda step: step.kind == "Truncate")
    assert process.try_save(30, 3) is None, "a line that is lost costs no save"
    assert tape.reached == 2
    assert len(read_journal(process.layout).damaged) == 1
    assert newest_serial(list_checkpoints(process.layout)) == 3
    process.end()
    process = RunProcess(tmp_path, Unsynced()).begin()
    process.save(40, 4)
    assert newest_serial(list_checkpoints(process.layout)) == 4
