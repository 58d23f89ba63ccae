"""`ckptkit list`: what is on disk, as a table and as JSON."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ckptkit.run.events import AttemptEnded, Finished


def listed(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_table_has_a_row_for_each_checkpoint_oldest_first(dummy_run, ckptkit):
    soon = (
        time.time() + 3600
    )  # by another machine's clock: what is not over yet is 0 s old, however slow this one is
    dummy_run.attempt()
    dummy_run.save(100, epoch=1, batch=10, metrics={"loss": 0.5}, saved_at=soon)
    dummy_run.attempt()
    dummy_run.save(
        200,
        epoch=2,
        metrics={"accuracy": 0.75, "loss": 0.25, "val_loss": 0.375},
        final=True,
        trigger="end of training",
        saved_at=soon,
    )
    dummy_run.record(Finished(step=200, epoch=2)).record(AttemptEnded(outcome="finished", step=200))
    result = ckptkit("list", "run")
    assert result.returncode == 0
    assert result.stderr == ""
    top, blank, head, first, second = result.stdout.splitlines()
    assert top.startswith(
        "run: finished at step 200 (2 epochs) | 2 attempts | last event attempt_ended, "
    )
    assert blank == ""
    assert head.split("  ")[0] == "step"
    assert first.split() == [
        "100",
        "1",
        "+",
        "10",
        "0",
        "s",
        "1.21",
        "kB",
        "loss",
        "0.5",
        "every",
        "100",
        "steps",
        "1",
    ]
    assert second.split() == [
        "200",
        "2",
        "0",
        "s",
        "1.21",
        "kB",
        "val_loss",
        "0.375",
        "loss",
        "0.25",
        "+1",
        "end",
        "of",
        "training",
        "2",
        "final",
    ]


def test_json_form(dummy_run, ckptkit):
    dummy_run.attempt(host="node7", pid=12)
    path = dummy_run.save(
        100, epoch=1, batch=10, saved_at=1.5e9, metrics={"loss": 0.5, "val_loss": float("nan")}
    )
    result = listed(ckptkit("list", "run", "--json"))
    last = result.pop("last_event")
    assert result == {
        "version": 1,
        "run": "run",
        "state": "unknown",
        "words": "process 12 on node7 has recorded no end: it runs or was lost; its "
        "newest save is of step 100",
        "attempts": 1,
        "checkpoints": [
            {
                "name": "ckpt-100-1",
                "path": "run/checkpoints/ckpt-100-1",
                "step": 100,
                "attempt": 1,
                "problem": None,
                "pinned": None,
                "epoch": 1,
                "batch": 10,
                "saved_at": 1.5e9,
                "size_bytes": sum(p.stat().st_size for p in path.glob("ckpt-*")),
                "trigger": "every 100 steps",
                "final": False,
                "metrics": {"loss": 0.5, "val_loss": "nan"},
            }
        ],
        "quarantined": 0,
        "set_aside": 0,
        "rolled_back": 0,
        "damaged_journal_lines": [],
    }
    assert (last["event"], last["attempt"]) == ("saved", 1)
    assert last["time"] > 1.5e9


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            lambda path: (path / "manifest.json").write_bytes(b'{"step": '),
            "is not a manifest of a checkpoint",
        ),
        (
            lambda path: (path / "manifest.json").write_bytes(os.urandom(1000)),
            "is not a manifest of a checkpoint",
        ),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: (path / "ckpt-200.index").unlink(), "ckpt-200.index is missing"),
        (lambda path: (path / "ckpt-200.index").write_bytes(b"short"), "its manifest says 8"),
    ],
    ids=["torn manifest", "garbage manifest", "no manifest", "no file", "another size"],
)
def test_a_damaged_checkpoint_is_listed_with_its_problem(dummy_run, ckptkit, damage, problem):
    dummy_run.attempt()
    dummy_run.save(100)
    damage(dummy_run.save(200))
    dummy_run.save(300)
    rows = ckptkit("list", "run").stdout.splitlines()[3:]
    assert [row.split()[0] for row in rows] == ["100", "200", "300"]
    assert ["damaged: " in row for row in rows] == [False, True, False]
    assert problem in rows[1]
    checkpoints = listed(ckptkit("list", "run", "--json"))["checkpoints"]
    assert [c["problem"] is None for c in checkpoints] == [True, False, True]
    assert problem in checkpoints[1]["problem"]


def test_what_was_moved_away_is_counted(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(100)
    for name in (
        "quarantine/ckpt-1-1",
        "quarantine/ckpt-2-1",
        "aside/checkpoints",
        "aside/export",
        "aside/checkpoints.2",
    ):
        (dummy_run.root / name).mkdir(parents=True)
    lines = ckptkit("list", "run").stdout.splitlines()
    assert lines[1].startswith("2 checkpoints in quarantine/")
    assert lines[2].startswith("2 earlier lives in aside/")
    result = listed(ckptkit("list", "run", "--json"))
    assert (result["quarantined"], result["set_aside"]) == (2, 2)


def test_lines_of_the_journal_that_cannot_be_read_are_counted(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(100)
    with dummy_run.layout.attempt_journal(1).open("ab") as file:
        file.write(b'{"v": 1, "event": "sav')
    assert (
        "1 line of the journal cannot be read: attempt-000001.jsonl:3: "
        in ckptkit("list", "run").stdout
    )
    assert len(listed(ckptkit("list", "run", "--json"))["damaged_journal_lines"]) == 1


def test_what_is_no_checkpoint_is_left_out(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(100)
    for name in (".writing-1", ".removing-ckpt-5-1", "notes", "ckpt-7", "ckpt-x-1"):
        (dummy_run.layout.checkpoints / name).mkdir()
    (dummy_run.layout.checkpoints / "checkpoint").write_text("")
    assert [c["step"] for c in listed(ckptkit("list", "run", "--json"))["checkpoints"]] == [100]


def test_what_was_taken_away_meanwhile_is_gone_and_not_damaged(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(100)
    # A name that is listed, with nothing behind it: what a reader meets when training takes a
    # checkpoint away at that moment.
    (dummy_run.layout.checkpoints / "ckpt-200-1").symlink_to("gone")
    assert [c["step"] for c in listed(ckptkit("list", "run", "--json"))["checkpoints"]] == [100]
    assert listed(ckptkit("show", "run", "--json"))["step"] == 100


def test_a_run_without_checkpoints(dummy_run, ckptkit):
    dummy_run.attempt()
    assert ckptkit("list", "run").stdout.splitlines()[-1] == "no checkpoints"
    assert listed(ckptkit("list", "run", "--json"))["checkpoints"] == []


def test_nothing_in_a_run_directory_commands_the_terminal(dummy_run, ckptkit):
    dummy_run.attempt(host="evil\x1b]0;title\x07")
    dummy_run.save(100, trigger="\x1b[2Jgone [red]not red[/red]\nsecond line")
    result = ckptkit("list", "run")
    assert "\x1b" not in result.stdout
    assert "\\x1b[2Jgone [red]not red[/red]\\nsecond line" in result.stdout


def test_listing_changes_nothing(dummy_run, ckptkit):
    dummy_run.attempt()
    dummy_run.save(100)

    def tree() -> dict[Path, tuple[int, int]]:
        return {
            path: (path.stat().st_mtime_ns, path.stat().st_size)
            for path in dummy_run.root.rglob("*")
        }

    before = tree()
    ckptkit("list", "run")
    ckptkit("show", "run")
    assert tree() == before


def on_a_terminal(arguments: list[str], **options: Any) -> str:
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "ckptkit", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            check=True,
            timeout=60,
            **options,
        )
        os.close(theirs)
        text = b""
        while True:
            try:
                text += os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed and everything was read
                return text.decode()
    finally:
        os.close(ours)


def test_colours_only_on_a_terminal_and_never_with_no_color(
    dummy_run, ckptkit, environment, tmp_path
):
    dummy_run.attempt().record(Finished(step=0, epoch=0)).record(
        AttemptEnded(outcome="finished", step=0)
    )
    dummy_run.save(100)
    assert "\x1b" not in ckptkit("list", "run", env=environment | {"FORCE_COLOR": "1"}).stdout
    terminal = environment | {"TERM": "xterm-256color"}
    assert "\x1b[32m" in on_a_terminal(["list", "run"], env=terminal, cwd=tmp_path)
    assert "\x1b" not in on_a_terminal(
        ["list", "run"], env=terminal | {"NO_COLOR": "1"}, cwd=tmp_path
    )
    assert "\x1b" not in on_a_terminal(
        ["list", "run"], env=terminal | {"TERM": "dumb"}, cwd=tmp_path
    )
