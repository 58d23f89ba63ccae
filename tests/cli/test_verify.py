"""`ckptkit verify`: whether checkpoints are what was written, and what is wrong where not."""

from __future__ import annotations

import json

import pytest


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.fixture
def three(dummy_run):
    """A run with three checkpoints; a large data file in the second."""
    dummy_run.attempt()
    return [
        dummy_run.save(
            step, data=b"tensors " * (200_000 if step == 200 else 100), metrics={"loss": 1 / step}
        )
        for step in (100, 200, 300)
    ]


def test_the_newest_by_default(three, called):
    result = called("verify", "run")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "ckpt-300-1: good (2 files, 808 B: every byte agrees)\n"


def test_a_flipped_bit_in_a_large_file_is_found_in_full_only(three, called):
    flip(three[1] / "ckpt-200.data-00000-of-00001")
    quick = called("verify", "run", "200", "--quick")
    assert quick.returncode == 0
    assert (
        quick.stdout
        == "ckpt-200-1: good (2 files, 1.6 MB: sizes agree, and the 8 B that were read)\n"
    )
    full = called("verify", "run", "200")
    assert full.returncode == 3
    assert full.stdout.startswith("ckpt-200-1: DAMAGED: ")
    assert "digest differs" in full.stdout
    assert called("verify", "run", "best").returncode == 0


def test_all_of_them(three, ckptkit):
    flip(three[1] / "ckpt-200.data-00000-of-00001")
    (three[2] / "manifest.json").write_text("{")
    result = ckptkit("verify", "run", "--all")
    assert result.returncode == 3
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["ckpt-100-1", "ckpt-200-1", "ckpt-300-1"]
    assert ["DAMAGED" in line for line in lines[:3]] == [False, True, True]
    assert lines[3] == "3 checkpoints, 2 damaged"


def test_json_form(three, called):
    (three[0] / "ckpt-100.index").unlink()
    result = called("verify", "run", "--all", "--json")
    assert result.returncode == 3
    found = json.loads(result.stdout)
    first, second, _ = found.pop("checkpoints")
    assert found == {"version": 1, "run": "run", "path": "run", "quick": False, "bad": 1}
    assert first == {
        "name": "ckpt-100-1",
        "path": "run/checkpoints/ckpt-100-1",
        "step": 100,
        "attempt": 1,
        "problem": "run/checkpoints/ckpt-100-1/ckpt-100.index is missing, or is not a regular "
        "file.",
        "damage": "missing",
        "file": "ckpt-100.index",
        "size_bytes": None,
        "read_bytes": None,
        "damaged_tensors": [],
    }
    assert (second["problem"], second["damage"], second["file"]) == (None, None, None)
    assert second["read_bytes"] == second["size_bytes"] == 1_600_008


def test_a_run_without_checkpoints(dummy_run, called):
    dummy_run.attempt()
    assert called("verify", "run").returncode == 1
    result = called("verify", "run", "--all")
    assert (result.returncode, result.stdout) == (0, "no checkpoints\n")


def test_a_step_that_is_not_there(three, called):
    result = called("verify", "run", "150")
    assert result.returncode == 1
    assert "Expected one of: 100, 200, 300," in result.stderr


def test_one_or_all(three, called):
    assert called("verify", "run", "100", "--all").returncode == 2
    assert called("verify", "run", "newest").returncode == 2


def test_nothing_is_changed(three, dummy_run, called):
    before = {path: path.stat().st_mtime_ns for path in dummy_run.root.rglob("*")}
    called("verify", "run", "--all")
    assert {path: path.stat().st_mtime_ns for path in dummy_run.root.rglob("*")} == before
