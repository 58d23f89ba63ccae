"""`ckptkit list` of a directory that is no run: everything in it is said, and nothing in it is in
the way.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ckptkit.clock import SystemClock
from ckptkit.run.events import AttemptEnded, Failed, Finished, RolledBack
from tests.cli.conftest import DummyRun
from tests.support.stored_run import start_attempt

TABLE_END = (0xDB4775248B80FB57).to_bytes(8, "little")
HDF5 = b"\x89HDF\r\n\x1a\n"


def index(path: Path, shards: int = 1) -> Path:
    """Files with the names, the first and the last bytes of a TensorFlow checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".index").write_bytes(b"\0" * 40 + TABLE_END)
    for number in range(shards):
        path.with_name(f"{path.name}.data-{number:05d}-of-{shards:05d}").write_bytes(b"x" * 100)
    return path


def keras(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return path


def saved_model(path: Path) -> Path:
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"\x08\x01")
    index(path / "variables" / "variables")
    return path


def listed(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def run_in(root: Path) -> DummyRun:
    """A run with one checkpoint."""
    run = DummyRun(root)
    run.attempt(host="node7")
    run.save(100, epoch=1, metrics={"val_loss": 0.5})
    return run


def end(run: DummyRun, outcome: str) -> None:
    if outcome == "finished":
        run.record(Finished(step=100, epoch=1))
    if outcome == "failed":
        run.record(Failed(error="ValueError", message="no", step=100, restart=True))
    if outcome == "rolled back":
        run.journal = start_attempt(run.files, run.layout, SystemClock())
        run.record(RolledBack(checkpoint="ckpt-100-1", step=100, set_aside=[], moved_to=""))
    elif outcome in ("finished", "failed", "preempted", "stopped"):
        run.record(AttemptEnded(outcome=outcome, step=100))


def test_every_state_of_a_run_is_told(tmp_path, called):
    for outcome in ("finished", "failed", "preempted", "stopped", "unknown"):
        end(run_in(tmp_path / "runs" / outcome), outcome)
    dead = DummyRun(tmp_path / "runs" / "dead")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead.attempt(host=socket.gethostname(), pid=process.pid)
    training = DummyRun(tmp_path / "runs" / "training")
    training.attempt(host=socket.gethostname(), pid=os.getpid())
    DummyRun(tmp_path / "runs" / "new").layout.journal.mkdir()
    (tmp_path / "runs" / "new" / "journal" / "launcher-1.jsonl").write_bytes(b"")
    end(run_in(tmp_path / "runs" / "rolled"), "rolled back")
    tree = listed(called("list", "runs", "--json"))
    states = {Path(run["path"]).name: run["state"] for run in tree["runs"]}
    assert states == {
        "finished": "finished",
        "failed": "failed",
        "preempted": "preempted",
        "stopped": "stopped",
        "unknown": "unknown",
        "dead": "dead",
        "training": "training",
        "new": "new",
        "rolled": "stopped",
    }
    assert [run["path"] for run in tree["runs"]] == sorted(run["path"] for run in tree["runs"])
    lines = called("list", "runs").stdout.splitlines()
    assert {
        line.split()[0]: line.split("run: ")[1].split()[0] for line in lines if "run: " in line
    } == states
    assert lines[-1].startswith(
        "runs: 9 runs (1 dead, 1 failed, 1 finished, 1 new, 1 preempted, 2 stopped, 1 training, 1 "
        "unknown); "
    )


def test_step_best_host_size_and_age_of_a_run(tmp_path, called):
    run = run_in(tmp_path / "runs" / "a")
    run.save(200, epoch=2, batch=5, metrics={"val_loss": 0.75, "loss": 0.01})
    run.save(250, metrics={"val_loss": float("nan")})
    run.save(300, epoch=3, metrics={"val_loss": 0.125})
    (run.layout.checkpoints / "ckpt-300-1" / "ckpt-300.index").unlink()
    run.attempt(host="node9")
    last = run.layout.attempt_journal(2)
    (found,) = listed(called("list", "runs", "--json"))["runs"]
    seen_at = found.pop("seen_at")
    assert found == {
        "path": "runs/a",
        "state": "unknown",
        "words": found["words"],
        "attempts": 2,
        "host": "node9",
        "step": 250,
        "epoch": 0,
        "batch": 0,
        "checkpoints": 4,
        "damaged": 1,
        "best": {"metric": "val_loss", "value": 0.5, "step": 100},
        "size_bytes": sum(path.stat().st_size for path in run.root.rglob("*") if path.is_file()),
        "quarantined": 0,
        "set_aside": 0,
        "rolled_back": 0,
        "damaged_journal_lines": 0,
    }
    assert seen_at == json.loads(last.read_text())["time"]
    row = called("list", "runs").stdout.splitlines()[1].split()
    assert row[:4] == ["a", "run:", "unknown", "250"]
    assert row[-5:] == ["val_loss", "0.5", "node9", "1", "damaged"]


def test_what_is_no_run_is_named(tmp_path, called):
    index(tmp_path / "old" / "model.ckpt-1200", shards=2)
    index(tmp_path / "old" / "ckpt")
    keras(tmp_path / "models" / "best.keras")
    (tmp_path / "models" / "w.weights.h5").write_bytes(HDF5 + b"...")
    (tmp_path / "models" / "whole.h5").write_bytes(HDF5 + b"...")
    saved_model(tmp_path / "single")
    saved_model(tmp_path / "serving" / "3")
    saved_model(tmp_path / "serving" / "12")
    run_in(tmp_path / "digits")
    (tmp_path / "notes.txt").write_text("x")
    tree = listed(called("list", ".", "--json"))
    assert [
        (other["path"], other["format"], other["step"], other["versions"], other["problem"])
        for other in tree["others"]
    ] == [
        ("models/best.keras", "Keras model (.keras)", None, [], None),
        ("models/w.weights.h5", "HDF5 file", None, [], None),
        ("models/whole.h5", "HDF5 file", None, [], None),
        ("old/ckpt", "TensorFlow checkpoint", None, [], None),
        ("old/model.ckpt-1200", "TensorFlow checkpoint", 1200, [], None),
        ("serving", "versions of a SavedModel", None, [3, 12], None),
        ("single", "SavedModel", None, [], None),
    ]
    sizes = {other["path"]: other["size_bytes"] for other in tree["others"]}
    assert sizes["old/model.ckpt-1200"] == 48 + 200
    assert sizes["serving"] == 2 * sizes["single"] == 2 * (2 + 48 + 100)
    assert tree["size_bytes"] == sum(sizes.values()) + tree["runs"][0]["size_bytes"]
    assert (
        "1 run (1 unknown), 2 x HDF5 file, 1 x Keras model (.keras), 1 x SavedModel, 2 x "
        "TensorFlow checkpoint" in called("list", ".").stdout
    )


def test_what_only_has_the_name_of_something(tmp_path, called):
    (tmp_path / "torn.keras").write_bytes(b"not a zip")
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "search.index").write_bytes(b"another program's index")
    index(tmp_path / "short-7", shards=3).with_name("short-7.data-00001-of-00003").unlink()
    index(tmp_path / "headless-8").with_name("headless-8.index").unlink()
    index(tmp_path / "bodyless-9", shards=0)
    index(tmp_path / "bad-10").with_name("bad-10.index").write_bytes(b"garbage")
    os.mkfifo(tmp_path / "pipe.keras")
    (tmp_path / "directory.h5").mkdir()
    problems = {
        other["path"]: other["problem"] for other in listed(called("list", ".", "--json"))["others"]
    }
    assert problems == {
        "torn.keras": "begins with b'not a zi', so it is neither a zip archive nor an HDF5 file",
        "empty.h5": "begins with b'', so it is neither a zip archive nor an HDF5 file",
        "short-7": "1 of 3 data files are missing",
        "headless-8": "headless-8.index is missing",
        "bodyless-9": "bodyless-9.data-* is missing",
        "bad-10": "bad-10.index does not end like an index file",
    }


def test_a_run_is_one_thing_and_so_is_a_saved_model(tmp_path, called):
    run = run_in(tmp_path / "all" / "run")
    run_in(run.root / "aside" / "checkpoints")
    saved_model(run.layout.export / "17")
    keras(run.root / "mine.keras")
    keras(saved_model(tmp_path / "all" / "model") / "assets" / "x.keras")
    keras(tmp_path / "all" / ".hidden" / "x.keras")
    tree = listed(called("list", "all", "--json"))
    assert [run["path"] for run in tree["runs"]] == ["all/run"]
    assert [other["path"] for other in tree["others"]] == ["all/model"]


def test_links_and_loops(tmp_path, called):
    run = run_in(tmp_path / "all" / "run")
    (tmp_path / "all" / "latest").symlink_to("run")
    (tmp_path / "all" / "loop").symlink_to("..")
    (tmp_path / "all" / "dangling").symlink_to("nowhere")
    (tmp_path / "all" / "linked.keras").symlink_to(keras(tmp_path / "elsewhere" / "x.keras"))
    (tmp_path / "entry").symlink_to("all")
    for name in ("all", "entry"):
        tree = listed(called("list", name, "--json"))
        assert [each["path"] for each in tree["runs"]] == [f"{name}/run"]
        assert [each["path"] for each in tree["others"]] == [f"{name}/linked.keras"]
        assert tree["links_not_followed"] == 2
    assert "2 links to directories not followed" in called("list", "all").stdout
    (tmp_path / "straight").symlink_to(run.root)
    assert listed(called("list", "straight", "--json"))["run"] == "straight"


def test_a_link_that_leads_nowhere_hides_nothing(tmp_path, called, ckptkit, obeying):
    """Also one to itself, or into a directory that may not be looked at: the system has an error
    for each of them.
    """
    run_in(tmp_path / "all" / "run")
    (tmp_path / "all" / "a").symlink_to("a")
    (tmp_path / "all" / "saved_model.pb").symlink_to("nowhere")
    index(tmp_path / "all" / "far-1").with_name("far-1.data-00000-of-00001").unlink()
    (tmp_path / "all" / "far-1.data-00000-of-00001").symlink_to("nowhere")
    tree = listed(called("list", "all", "--json"))
    assert [each["path"] for each in tree["runs"]] == ["all/run"]
    assert {each["path"]: each["problem"] for each in tree["others"]} == {
        "all/far-1": "far-1.data-* is missing"
    }
    assert (tree["unreadable"], tree["links_not_followed"]) == ([], 0)
    (tmp_path / "closed" / "inner").mkdir(parents=True)
    (tmp_path / "all" / "b").symlink_to(tmp_path / "closed" / "inner")
    (tmp_path / "closed").chmod(0)
    assert [
        each["path"] for each in listed(ckptkit("list", "all", "--json", **obeying))["runs"]
    ] == ["all/run"]


def test_what_may_not_be_read_is_said_and_stops_nothing(tmp_path, ckptkit, obeying):
    run_in(tmp_path / "all" / "good")
    run_in(tmp_path / "all" / "closed").layout.journal.chmod(0)
    (tmp_path / "all" / "locked" / "inner").mkdir(parents=True)
    keras(tmp_path / "all" / "secret.keras").chmod(0)
    (tmp_path / "all" / "locked").chmod(0)
    tree = listed(ckptkit("list", "all", "--json", **obeying))
    assert {run["path"]: run["state"] for run in tree["runs"]} == {
        "all/good": "unknown",
        "all/closed": "unreadable",
    }
    assert {each["path"]: each["reason"] for each in tree["unreadable"]} == {
        "all/locked": "Permission denied",
        "all/secret.keras": "Permission denied",
    }
    text = ckptkit("list", "all", **obeying).stdout
    assert "could not be read: all/locked (Permission denied)" in text
    assert "run: unreadable" in text
    (tmp_path / "only" / "locked").mkdir(parents=True)
    (tmp_path / "only" / "locked").chmod(0)
    nothing = ckptkit("list", "only", **obeying)
    assert (nothing.returncode, nothing.stdout) == (10, "")
    assert "1 directory in it could not be read." in nothing.stderr
    assert ckptkit("list", "only/locked", **obeying).returncode == 1


def test_nothing_there_is_said(tmp_path, called):
    (tmp_path / "all" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "all" / "deep" / "notes.txt").write_text("x")
    result = called("list", "all")
    assert (result.returncode, result.stdout) == (10, "")
    words = "It contains no run, TensorFlow checkpoint, .keras or .h5 file or SavedModel either."
    assert words in result.stderr


def test_what_was_moved_away_is_counted_over_all_runs(tmp_path, called):
    for name in "ab":
        run = run_in(tmp_path / "runs" / name)
        for place in (
            "quarantine/ckpt-1-1",
            "aside/checkpoints",
            "aside/rolled-back-000003/ckpt-5-1",
        ):
            (run.root / place).mkdir(parents=True)
    text = called("list", "runs").stdout
    assert "2 checkpoints in quarantine/: moved, not deleted" in text
    assert "2 earlier lives in aside/: moved, not deleted" in text
    assert "2 checkpoints in aside/ by a rollback: moved, not deleted" in text
    assert text.count("1 in quarantine, 1 rolled back, 1 earlier life aside") == 2


def test_names_command_no_terminal(tmp_path, called):
    run_in(tmp_path / "runs" / "evil\x1b[2J\n")
    keras(tmp_path / "runs" / "\x1b]0;x\x07.keras")
    text = called("list", "runs").stdout
    assert "\x1b" not in text
    assert "evil\\x1b[2J\\n" in text
    names = os.fsencode(tmp_path / "runs") + b"/\xff\xfe.keras"
    os.rename(tmp_path / "runs" / "\x1b]0;x\x07.keras", names)
    assert called("list", "runs").returncode == 0
    assert listed(called("list", "runs", "--json"))["others"][0]["format"] == "Keras model (.keras)"


@pytest.mark.parametrize("kind", ["deep", "wide"])
def test_a_tree_of_any_form(tmp_path, called, seed, kind):
    chance = random.Random(seed)
    place, made = tmp_path / "tree", []
    place.mkdir()
    for number in range(40 if kind == "deep" else 10):
        name = f"{chance.choice('abc')}-{number}"
        place = (place if kind == "deep" else tmp_path / "tree") / name
        place.mkdir()
        if chance.random() < 0.3:
            made.append(keras(place / f"{number}.keras"))
    made.append(keras(tmp_path / "tree" / "x.keras"))
    assert {other["path"] for other in listed(called("list", "tree", "--json"))["others"]} == {
        str(path.relative_to(tmp_path)) for path in made
    }
