"""`ckptkit pin` and `ckptkit unpin`: while a run is training, and without a lock."""

from __future__ import annotations

import json

import pytest

from ckptkit.clock import SystemClock
from ckptkit.ownership.run_lock import RunLock
from ckptkit.run.pins import Pin, read_pins


@pytest.fixture
def two(dummy_run):
    dummy_run.attempt()
    return [dummy_run.save(step, metrics={"loss": step}) for step in (100, 200)]


def test_pinned_noted_listed_and_unpinned_while_it_is_training(two, dummy_run, ckptkit):
    lock = RunLock(dummy_run.files, dummy_run.layout, SystemClock())
    try:
        result = ckptkit("pin", "run", "best", "--note", "in the paper \x1b[2J")
        assert (result.returncode, result.stdout, result.stderr) == (
            0,
            "pinned ckpt-100-1: in the paper \\x1b[2J\n",
            "",
        )
        rows = ckptkit("list", "run").stdout.splitlines()
        assert rows[-2].endswith("pinned: in the paper \\x1b[2J")
        assert "pinned" not in rows[-1]
        first, second = json.loads(ckptkit("list", "run", "--json").stdout)["checkpoints"]
        assert first["pinned"]["note"] == "in the paper \x1b[2J"
        assert first["pinned"]["pinned_at"] > 1.5e9
        assert second["pinned"] is None
        result = ckptkit("unpin", "run", "100")
        assert (result.returncode, result.stdout) == (0, "unpinned ckpt-100-1\n")
        assert read_pins(dummy_run.layout) == {}
    finally:
        lock.release()


def test_what_is_not_there_cannot_be_pinned_or_unpinned(two, dummy_run, called):
    assert called("pin", "run", "150").returncode == 1
    assert called("pin", "run").returncode == 2
    called("pin", "run", "100")
    result = called("unpin", "run", "200")
    assert result.returncode == 1
    assert "Pinned steps: 100." in result.stderr
    assert list(read_pins(dummy_run.layout).values()) != [Pin()]


def test_the_latest_and_the_best_are_unpinned_by_these_words(two, dummy_run, called):
    called("pin", "run", "best")
    assert called("unpin", "run", "latest").returncode == 1
    assert [name.step for name in read_pins(dummy_run.layout)] == [100]
    assert called("unpin", "run", "best").stdout == "unpinned ckpt-100-1\n"
    called("pin", "run", "latest")
    assert called("unpin", "run", "latest").stdout == "unpinned ckpt-200-1\n"
    assert called("unpin", "run", "newest").returncode == 2


def test_a_damaged_one_is_not_pinned(two, dummy_run, called):
    (two[1] / "manifest.json").write_text("{")
    result = called("pin", "run", "200")
    assert result.returncode == 3
    assert read_pins(dummy_run.layout) == {}


def test_a_pin_of_what_is_gone_is_said_and_can_be_taken_away(two, dummy_run, called):
    called("pin", "run", "100")
    two[0].rename(dummy_run.root / "elsewhere")
    assert "1 pin of missing checkpoints: ckpt-100-1" in called("list", "run").stdout
    assert called("unpin", "run", "100").returncode == 0
    assert "pin" not in called("list", "run").stdout
