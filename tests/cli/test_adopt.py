"""`ckptkit adopt`: says what it has found, and the first start of the run begins with it."""

from __future__ import annotations

import json

import pytest

from ckptkit.layout import run_layout
from ckptkit.run.adoption_request import AdoptionRequest, requested_adoption
from ckptkit.run.events import SetAside
from tests.support.schemas import printed


@pytest.fixture
def backup(tmp_path):
    """A directory as `BackupAndRestore` leaves it; its values are not read here."""
    path = tmp_path / "backup"
    path.mkdir()
    (path / "latest.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (path / "training_metadata.json").write_text(json.dumps({"epoch": 3, "batch": 0}))
    return path


def test_it_says_what_it_has_found_and_writes_the_request(backup, tmp_path, ckptkit):
    result = ckptkit("adopt", "backup", "runs/a", "--partial", "--step", "12")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        "found backup/latest.weights.h5 (keras.callbacks.BackupAndRestore), "
        "3 epochs done\nthe next start of runs/a continues from it\n"
    )
    layout = run_layout(tmp_path / "runs" / "a")
    assert requested_adoption(layout) == AdoptionRequest(source=str(backup), step=12, strict=False)
    assert {path.name for path in backup.iterdir()} == {
        "latest.weights.h5",
        "training_metadata.json",
    }


def test_the_form_for_programs(backup, tmp_path, called):
    answer = printed("adopt", called("adopt", "backup", "new", "--epoch", "4", "--json").stdout)
    assert answer == {
        "version": 1,
        "run": "new",
        "source": "backup/latest.weights.h5",
        "system": "keras.callbacks.BackupAndRestore",
        "epoch": 4,
        "step": None,
    }


def test_a_run_that_has_begun_is_refused(backup, dummy_run, called):
    dummy_run.attempt()
    dummy_run.save(3)
    result = called("adopt", backup, "run")
    assert result.returncode == 2
    assert "has begun already" in result.stderr
    assert not dummy_run.layout.adoption.exists()


def test_after_a_fresh_start_it_counts_no_longer(backup, dummy_run, called):
    assert called("adopt", backup, "run").returncode == 0
    assert requested_adoption(dummy_run.layout) is not None
    dummy_run.attempt()
    dummy_run.record(SetAside(label="again", moved_to="aside/1"))
    assert requested_adoption(dummy_run.layout) is None


def test_what_is_no_source_is_refused(tmp_path, dummy_run, called):
    assert called("adopt", "nothing", "new").returncode == 1
    dummy_run.attempt()
    dummy_run.save(3)
    result = called("adopt", "run", "new")
    assert result.returncode == 2
    assert "init_from=" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot be read"), (json.dumps({"source": "a", "format_version": 2}), "version 2")],
)
def test_a_request_that_cannot_be_read_is_an_error(dummy_run, content, message):
    import ckptkit

    dummy_run.layout.adoption.write_text(content)
    with pytest.raises(ckptkit.CorruptCheckpointError, match=message):
        requested_adoption(dummy_run.layout)
