"""`ckptkit history`: what became of each attempt, for people and for programs."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ckptkit.report.goodput import KINDS
from ckptkit.run.events import (
    AttemptEnded,
    AttemptStarted,
    Finished,
    NoticeReceived,
    Restored,
    RunPreempted,
    SaveDropped,
    SignalReceived,
    TrainingStarted,
)
from ckptkit.run.journal import encode_line, start_launcher_journal
from ckptkit.storage.files import FileSystem
from tests.cli.conftest import ROOT
from tests.report.journals import launched
from tests.report.test_goodput import EVERY_KIND

SCHEMA = json.loads((ROOT / "docs" / "schemas" / "history.json").read_text())
HOSTILE = "<script>alert(1)</script>\x1b[31m\r\n\x00\u202e\u2028[bold]"


def told(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What `--json` has printed, which is of the form that is documented."""
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout, parse_constant=pytest.fail)
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)] == []
    return document


def resumed(step: int, attempt: int) -> Restored:
    return Restored(checkpoint=f"ckpt-{step}-{attempt}", step=step, epoch=0, batch=step, secs=0.25)


@pytest.fixture
def lived(dummy_run):
    """A run that was killed at step 130 at least, stopped by a signal at 200, and came to its end
    at 300.
    """
    dummy_run.attempt().record(TrainingStarted(step=0))
    dummy_run.save(100)
    dummy_run.save(130)
    dummy_run.attempt().record(resumed(100, 1)).record(TrainingStarted(step=100)).record(
        SignalReceived(signal="SIGTERM", phase="training")
    )
    dummy_run.save(200)
    dummy_run.record(RunPreempted(step=200, reason="SIGTERM", exit_code=75, secs=0.5)).record(
        AttemptEnded(outcome="preempted", step=200)
    )
    dummy_run.attempt().record(resumed(200, 2)).record(TrainingStarted(step=200))
    dummy_run.save(300, final=True)
    dummy_run.record(Finished(step=300, epoch=3)).record(AttemptEnded(outcome="finished", step=300))
    return dummy_run


def test_table_has_a_row_for_each_attempt(lived, called):
    result = called("history", "run")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "run: 3 attempts"
    assert lines[2].split() == [
        "attempt",
        "start",
        "took",
        "host",
        "steps",
        "done",
        "lost",
        "redone",
        "saves",
        "stall",
        "resumed",
        "from",
        "end",
    ]
    rows = [line.split("  ") for line in lines[3:6]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[0] for row in cells] == ["1", "2", "3"]
    assert [row[3] for row in cells] == ["elsewhere (4000000)"] * 3
    assert [row[4:] for row in cells] == [
        [
            "0-130",
            "130+",
            "30+",
            "2",
            "0.02 s",
            "was killed, or lost with its machine: it recorded no end",
        ],
        ["100-200", "100", "30", "1", "0.51 s", "ckpt-100-1", "stopped by SIGTERM at step 200"],
        ["200-300", "100", "1", "0.11 s", "ckpt-200-2", "finished at step 300"],
    ]
    assert lines[7].startswith("goodput ")
    assert (
        lines[-2] == f"at least 30 steps lost, 30 of them done again; 4 saves ({4 * 1.208:.3g} kB)"
    )


def test_saves_that_were_not_written_are_listed_with_their_steps(dummy_run, ckptkit):
    dummy_run.attempt().record(TrainingStarted(step=0))
    dummy_run.save(10)
    for step in range(11, 24):
        dummy_run.record(SaveDropped(step=step, reason="a newer one took its place"))
    lines = ckptkit("history", "run").stdout.splitlines()
    assert lines[-1] == (
        "13 saves not written, because a newer one replaced it or training ended: "
        "of step ..., 14, 15, 16, 17, 18, 19, 20, 21, 22, 23"
    )


def test_json_form(lived, ckptkit):
    document = told(ckptkit("history", "run", "--json"))
    assert next(iter(document)) == "version"
    assert (document["version"], document["run"], document["life"], document["steps_lost"]) == (
        1,
        "run",
        1,
        30,
    )
    first, second, third = document["attempts"]
    assert (first["outcome"], second["outcome"], third["outcome"]) == (
        "dead",
        "preempted",
        "finished",
    )
    assert first["resumed_from"] is None
    assert second["resumed_from"] == {
        "checkpoint": "ckpt-100-1",
        "step": 100,
        "secs": 0.25,
        "time": pytest.approx(time.time(), abs=60),
    }
    assert (
        second["signals"],
        second["steps_done"],
        second["steps_redone"],
        second["restore_secs"],
    ) == (["SIGTERM"], 100, 30, 0.25)
    goodput = document["goodput"]
    assert set(goodput["badput_secs"]) == set(KINDS)
    assert goodput["productive_secs"] + sum(goodput["badput_secs"].values()) == pytest.approx(
        goodput["wall_secs"], abs=1e-6
    )


def test_goodput_is_told_in_words(dummy_run, called):
    files, layout = FileSystem(), dummy_run.layout
    files.make_dir(layout.journal)
    for event in EVERY_KIND:
        path = (
            layout.attempt_journal(event.attempt)
            if event.attempt
            else layout.launcher_journal("abc")
        )
        with path.open("ab") as file:
            file.write(encode_line(event))
    lines = called("history", "run").stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("goodput "))
    assert (
        lines[start]
        == "goodput 50.5 %: of 3 min 20 s from the first start to the last end, 1 min 41 s went "
        "into steps that count"
    )
    assert lines[start + 1].split() == ["time", "part", "went", "into"]
    parts = {
        " ".join(line.split()[3:]): " ".join(line.split()[:3]) for line in lines[start + 2 : -2]
    }
    spelled = {f"{kind.replace('_', ' ')} {KINDS[kind]}" for kind in KINDS if kind != "idle"}
    assert {name.removeprefix("% ") for name in parts} == spelled


def test_a_run_that_is_training(dummy_run, called):
    dummy_run.attempt(host=socket.gethostname(), pid=os.getpid()).record(TrainingStarted(step=0))
    dummy_run.save(10)
    document = told(called("history", "run", "--json"))
    (attempt,) = document["attempts"]
    assert (attempt["outcome"], attempt["end"], attempt["steps_lost"]) == ("training", None, 0)
    assert called("history", "run").stdout.splitlines()[3].endswith("  training")


def test_a_run_that_nobody_has_trained(dummy_run, called):
    start_launcher_journal(dummy_run.files, dummy_run.layout, _Clock(), "abc").record(launched())
    document = told(called("history", "run", "--json"))
    assert (document["attempts"], document["goodput"], document["life"]) == ([], None, 1)
    assert called("history", "run").stdout == "run: 0 attempts\nno process has trained it\n"


class _Clock:
    def now(self) -> float:
        return 1.7e9


def test_hostile_strings_stay_text(dummy_run, called):
    long = HOSTILE * 8_000  # two of them are a line that is just not too long
    dummy_run.attempt(host=HOSTILE)
    dummy_run.record(AttemptStarted(host=long, pid=1, program=long, versions={HOSTILE: HOSTILE}))
    dummy_run.record(SignalReceived(signal=HOSTILE, phase=HOSTILE)).record(
        NoticeReceived(source=long, grace_secs=1e308)
    )
    dummy_run.record(Restored(checkpoint=long, step=2**62, epoch=0, batch=0, secs=1e300)).record(
        TrainingStarted(step=2**62)
    )
    dummy_run.record(RunPreempted(step=1, reason=long, exit_code=75, secs=-1e300)).record(
        AttemptEnded(outcome="preempted", step=-5)
    )
    with dummy_run.layout.attempt_journal(1).open("ab") as file:
        file.write(b'{"v": 1, "event": "saved", "' + HOSTILE.encode("unicode_escape") + b"\n")
    (dummy_run.layout.journal / "\x1b[2J\n.jsonl").write_bytes(
        b"{\n"
    )  # the first line that is damaged, which is shown
    text = called("history", "run").stdout
    assert all(character.isprintable() for line in text.splitlines() for character in line)
    assert len(text.splitlines()) < 20
    assert max(map(len, text.splitlines())) < 2000
    assert "<script>" in text
    assert "2 lines of the journal cannot be read: \\x1b[2J\\n.jsonl:1: " in text
    document = told(called("history", "run", "--json"))
    assert document["attempts"][0]["host"] == HOSTILE
    assert document["attempts"][0]["notices"] == [long]


def test_the_schema_refuses_what_is_not_of_the_form(lived, called):
    document = told(called("history", "run", "--json"))
    for change in (
        lambda other: other.update(version=2),
        lambda other: other["attempts"][0].pop("cause"),
        lambda other: other["goodput"]["badput_secs"].update(idle=-1),
        lambda other: other["attempts"][1]["resumed_from"].pop("step"),
        lambda other: other["goodput"].update(ratio=1.5),
    ):
        other = copy.deepcopy(document)
        change(other)
        assert not Draft202012Validator(SCHEMA).is_valid(other)
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run"], 0),
        (["missing"], 10),
        (["."], 10),
        ([], 2),
        (["run", "100"], 2),
        (["gs://bucket/run"], 2),
    ],
    ids=str,
)
def test_exit_codes(lived, called, arguments, code):
    result = called("history", *arguments)
    assert result.returncode == code
    assert ("Traceback" in result.stderr, bool(result.stdout)) == (False, code == 0)


def test_the_interval_that_the_default_policy_has_chosen_is_shown(dummy_run, called):
    chosen = "adaptive: every 12.1 s, as a save costs 0.121 s of training"
    dummy_run.attempt()
    dummy_run.save(100, trigger="adaptive: the first after 5 s")
    dummy_run.save(200, trigger=chosen)
    dummy_run.save(250, trigger="end of training", final=True)
    assert f"newest save: step 200, {chosen}" in called("history", "run").stdout
    newest = json.loads(called("history", "run", "--json").stdout)["newest_save"]
    assert newest == {"step": 200, "trigger": chosen}
    assert chosen in called("report", "run", "-o", "-").stdout
