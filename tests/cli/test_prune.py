"""`ckptkit prune`: what stays and goes, with reasons; asked before, and never while the run is
training.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace

import pytest

from ckptkit.clock import SystemClock
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_state_file import state_file_content
from ckptkit.run.events import TakenAway
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.manifest import encode, read_manifest
from ckptkit.run.verify import file_entry

LOSSES = {100: 0.5, 200: 0.25, 300: 0.75, 400: 1.0}


@pytest.fixture
def four(dummy_run):
    dummy_run.attempt()
    return {step: dummy_run.save(step, metrics={"loss": loss}) for step, loss in LOSSES.items()}


def steps(run):
    return [checkpoint.step for checkpoint in list_checkpoints(run.layout)]


def tree(run):
    return {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.name != "alive"}


def test_a_dry_run_says_why_and_changes_nothing_even_while_it_is_training(four, dummy_run, called):
    called("pin", "run", "100")
    lock = RunLock(dummy_run.files, dummy_run.layout, SystemClock())
    before = tree(dummy_run)
    try:
        result = called("prune", "run", "--keep-latest", "1", "--keep-best", "loss", "--dry-run")
    finally:
        lock.release()
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split("  ")[-1].strip() for line in result.stdout.splitlines()[1:5]] == [
        "pinned",
        "best 1 of 1 by loss (0.25)",
        "not the latest; not among the best 1 by loss (0.75)",
        "latest 1 of 1",
    ]
    assert (
        result.stdout.splitlines()[-1] == "would delete 1 checkpoint (1.21 kB); nothing was changed"
    )
    assert tree(dummy_run) == before


def test_what_goes_is_gone_told_and_known_to_tensorflow(four, dummy_run, ckptkit):
    (dummy_run.layout.checkpoints / ".writing-1").mkdir()
    result = ckptkit("prune", "run", "--keep-latest", "2", "--keep-every", "200", "--yes")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "deleted 1 checkpoint (1.21 kB)"
    assert steps(dummy_run) == [200, 300, 400]
    told = [
        event for event in read_journal(dummy_run.layout).events if isinstance(event, TakenAway)
    ]
    assert [(event.checkpoint, event.reason) for event in told] == [
        ("ckpt-100-1", "older than the latest 2; not the first at or after a multiple of 200 steps")
    ]
    assert dummy_run.layout.state_file.read_bytes() == state_file_content(
        [c.name for c in list_checkpoints(dummy_run.layout)]
    )
    assert not (dummy_run.layout.checkpoints / ".writing-1").exists()
    assert json.loads(ckptkit("list", "run", "--json").stdout)["attempts"] == 1, (
        "it trains nothing, and is no attempt"
    )


def test_files_of_an_anchor_are_freed_with_the_last_checkpoint_that_has_them(dummy_run, called):
    dummy_run.attempt()
    for step in (100, 200, 300):
        path = dummy_run.save(step)
        anchor = path / "data-100-1-0.index"
        if step == 100:
            anchor.write_bytes(b"x" * 70_000)
        else:
            anchor.hardlink_to(dummy_run.layout.checkpoints / "ckpt-100-1" / anchor.name)
        manifest = read_manifest(path)
        files = (*manifest.files, file_entry(anchor))
        (path / "manifest.json").write_bytes(encode(replace(manifest, files=files)))
    result = called("prune", "run", "--keep-latest", "1", "--dry-run")
    assert result.stdout.splitlines()[-1].startswith("would delete 2 checkpoints (2.42 kB)")
    result = called("prune", "run", "--keep-latest", "1", "--yes")
    assert result.stdout.splitlines()[-1] == "deleted 2 checkpoints (2.42 kB)"


def test_json_form(four, called):
    found = json.loads(called("prune", "run", "--keep-latest", "3", "--yes", "--json").stdout)
    checkpoints = found.pop("checkpoints")
    assert found == {"version": 1, "run": "run", "dry_run": False, "removed": 1}
    assert checkpoints[0] == {
        "name": "ckpt-100-1",
        "step": 100,
        "attempt": 1,
        "stays": False,
        "reason": "older than the latest 3",
        "removed": True,
        "size_bytes": 1208,
    }
    assert [c["stays"] for c in checkpoints] == [False, True, True, True]


def test_a_run_that_is_training_is_locked(four, dummy_run, ckptkit):
    lock = RunLock(dummy_run.files, dummy_run.layout, SystemClock())
    try:
        result = ckptkit("prune", "run", "--keep-latest", "1", "--yes")
    finally:
        lock.release()
    assert result.returncode == 11
    assert f"process {os.getpid()}" in result.stderr
    assert steps(dummy_run) == [100, 200, 300, 400]


def test_without_a_terminal_it_has_to_be_said(four, dummy_run, ckptkit):
    result = ckptkit("prune", "run", "--keep-latest", "1")
    assert result.returncode == 2
    assert "Delete 3 checkpoints of run (3.62 kB)?" in result.stderr
    assert "--yes" in result.stderr
    assert steps(dummy_run) == [100, 200, 300, 400]
    assert ckptkit("prune", "run", "--keep-latest", "9").returncode == 0, "there is nothing to ask"


@pytest.mark.parametrize(
    ("answer", "code", "left"),
    [("y\n", 0, [400]), ("n\n", 1, [100, 200, 300, 400]), ("\n", 1, [100, 200, 300, 400])],
)
def test_on_a_terminal_it_asks(four, dummy_run, environment, tmp_path, answer, code, left):
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "ckptkit",
                "prune",
                "run",
                "--keep-latest",
                "1",
                "--keep-best",
                "loss:max",
            ],
            stdin=theirs,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment,
            cwd=tmp_path,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code
    assert "Delete 3 checkpoints of run" in done.stderr
    assert steps(dummy_run) == left


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "at least one of --keep-latest"),
        (["--keep-latest", "0"], "x>=1"),
        (["--keep-best", "los"], "loss is better"),
        (["--keep-best", "score"], "Expected score:max or score:min"),
        (
            ["--keep-best", "val_loss"],
            "No checkpoint of this run has a metric val_loss. Expected one of: loss.",
        ),
        (["--keep-best", "loss:best"], "min or max"),
    ],
    ids=str,
)
def test_what_cannot_be_right_takes_nothing_away(four, dummy_run, called, options, said):
    result = called("prune", "run", "--yes", *options)
    assert result.returncode == 2
    if said != "loss is better":
        assert said in result.stderr
    assert steps(dummy_run) == [100, 200, 300, 400]


def test_a_damaged_newest_one_costs_no_good_one(four, dummy_run, called):
    """A flipped bit that no size tells of, and a manifest that cannot be read: the newest whole one
    stays in their place.
    """
    file = four[300] / "ckpt-300.data-00000-of-00001"
    file.write_bytes(file.read_bytes().upper())
    (four[400] / "manifest.json").write_text("{")
    result = called("prune", "run", "--keep-latest", "1", "--yes")
    assert result.returncode == 0
    assert steps(dummy_run) == [200, 300, 400]
    assert result.stdout.count("damaged, so it takes no other's place") == 2


def test_a_run_without_checkpoints(dummy_run, called):
    dummy_run.attempt()
    result = called("prune", "run", "--keep-latest", "1", "--yes")
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, "no checkpoints")
