"""Names that are not UTF-8, and names that a terminal would obey: every command can be used."""

from __future__ import annotations

import json
import os

import pytest

from ckptkit.cli import main
from ckptkit.layout import RunLayout
from ckptkit.run import events
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.journal_reader import read_journal
from ckptkit.storage.files import FileSystem
from ckptkit.testing import FakeClock
from tests.support.stored_run import manifest, start_attempt

ODD = os.fsdecode(b"run-\xff\x1b[2J")


@pytest.fixture
def run(tmp_path):
    """A run whose directory, metrics and events have such names."""
    layout, files = RunLayout(tmp_path / ODD), FileSystem()
    files.make_dir(layout.checkpoints)
    journal = start_attempt(files, layout, FakeClock())
    for step in (100, 200):
        (begin_writing(files, layout, 1) / f"ckpt-{step}.index").write_bytes(b"tensors")
        metrics = {ODD: 0.5, "loss": 1.0}
        commit(files, layout, manifest(step, metrics=metrics, trigger=ODD, final=step == 200))
    journal.record(events.Exported(path=str(layout.export), step=1, secs=1))
    journal.record(events.Finished(step=200, epoch=1))
    return layout


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["show"],
        ["tensors"],
        ["history"],
        ["verify"],
        ["report", "-o", "run.html"],
        ["prune", "--keep-latest", "1", "--yes"],
        ["pin", "100"],
        ["rollback", "100", "--yes"],
    ],
    ids=" ".join,
)
def test_a_command_serves_such_a_run(run, command, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = main([command[0], str(run.root), *command[1:]])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "\x1b" not in out + err
    out.encode()
    if command[0] in ("list", "show", "tensors", "history", "verify"):
        assert main([command[0], str(run.root), "--json"]) == 0
        json.loads(capsys.readouterr().out)


def test_the_journal_loses_no_line_over_a_name(run):
    view = read_journal(run)
    assert view.damaged == ()
    assert [event.event for event in view.events] == ["exported", "finished"]
    (exported, _) = view.events
    assert "\\udcff" in exported.path, "written as text"
