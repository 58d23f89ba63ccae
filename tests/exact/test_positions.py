"""From every position of a run its end is the same, and from there on the other callbacks see each batch once, as in an uninterrupted run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.exact.compare import Comparison, events

EPOCHS, BATCHES = 3, 11


def copy_until(run: Path, copy: Path, step: int) -> None:
    """The run as it was when its newest checkpoint was the one of `step`: a run can be copied, and the newest one on disk counts."""
    shutil.copytree(run, copy, ignore=lambda directory, names: [
        name for name in names if name.startswith("ckpt-") and name != f"ckpt-{step}-1" and Path(directory).name == "checkpoints"])


def left(records: list[list[Any]], step: int) -> list[list[Any]]:
    """What is to be seen after so many steps."""
    left = [record for record in records if record[0] != "epoch_begin"]
    index = [number for number, record in enumerate(left) if record[0] == "batch"][step - 1] + 1
    if index < len(left) and left[index][0] == "epoch_end":
        index += 1  # a save takes place when the next epoch has begun
    return left[index:]


def check_positions(steps: range, kind: str, start: Any, directory: Path, **options: Any) -> None:
    comparison = Comparison(start, directory, data=kind, epochs=EPOCHS, **options)
    plain = comparison.plain()
    assert comparison.interrupted([], save=1, keep="all") == plain
    expected = events(comparison.without)
    assert events(comparison.directory) == expected
    wrong = []
    for step in steps:
        run, directory_of_step = directory / f"run-{step}", directory / f"from-{step}"
        copy_until(comparison.run, run, step)
        result = comparison.attempt(directory_of_step, run)
        seen = [record for record in events(directory_of_step) if record[0] != "epoch_begin"]
        if (result, seen) != (plain, left(expected, step)):
            wrong.append(step)
        shutil.rmtree(run)
    assert wrong == [], f"the positions from which the run goes on otherwise, of {EPOCHS} epochs with {BATCHES} batches"


def test_every_eighth_position(tf_process: Any, tmp_path: Path) -> None:
    check_positions(range(4, EPOCHS * BATCHES + 1, 8), "two_shuffles", tf_process, tmp_path, validation=False)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["shuffle_global_seed", "two_shuffles"])
def test_every_position(kind: str, tf_process: Any, tmp_path: Path) -> None:
    check_positions(range(1, EPOCHS * BATCHES + 1), kind, tf_process, tmp_path)
