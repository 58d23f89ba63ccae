"""An interrupted loop under `MirroredStrategy` ends with the bits of an uninterrupted one, on each
device.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.spread import spread

PROGRAM = Path(__file__).with_name("loop_program.py")
DATA = ["shuffle", "from_generator", "two_shuffles", "cache", "repeat", "list", "shuffled"]
MODELS = ["plain", "two_optimizers", "synchronized"]
SIGTERM = {"signal": "SIGTERM"}


def run(
    start: Any, directory: Path, deaths: list[dict[str, Any]], **options: Any
) -> tuple[Any, dict[int, str]]:
    directory.mkdir()
    for death in [*deaths, {}]:
        process = start(
            PROGRAM, json.dumps({**options, **death, "run": str(directory / "run")}), cwd=directory
        )
        expected = 0 if not death else 75 if death.get("signal") == "SIGTERM" else -signal.SIGKILL
        assert process.wait() in {expected, 0 if "die" in death else expected}, process.stderr
    losses: dict[int, str] = {}
    for line in (directory / "losses.jsonl").read_text().splitlines():
        step, loss = json.loads(line)
        assert losses.setdefault(step, loss) == loss, f"step {step} was done twice, otherwise"
    return json.loads((directory / "result.json").read_text())["digest"], losses


def check(start: Any, directory: Path, deaths: list[dict[str, Any]], **options: Any) -> None:
    plain = run(start, directory / "plain", [], **options)
    assert run(start, directory / "interrupted", deaths, **options) == plain


@pytest.mark.parametrize(
    ("kind", "model"), spread([*zip(DATA, itertools.cycle(MODELS), strict=False)], 7, 1)
)
def test_a_loop(kind: str, model: str, tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"die": 5}, {"die": 9, **SIGTERM}]
    check(tf_process, tmp_path, deaths, data=kind, model=model, devices=2)


def test_data_that_tensorflow_has_split(tf_process: Any, tmp_path: Path) -> None:
    """Its batches are drawn again. Batches that `manager.data` splits are the same ones."""
    options = {"devices": 2, "data": "shuffle"}
    ours = run(tf_process, tmp_path / "ours", [], **options)
    deaths = [{"die": 14}]
    theirs = run(tf_process, tmp_path / "theirs", deaths, data_by="tensorflow", **options)
    assert theirs == ours


@pytest.mark.long
@pytest.mark.parametrize(
    ("devices", "kind", "model"), list(itertools.product((2, 4), DATA, MODELS))
)
def test_killed_at_random_moments(
    devices: int, kind: str, model: str, tf_process: Any, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    deaths = [{"die": draw.randint(1, 14), **draw.choice([{}, SIGTERM])} for _ in range(2)]
    options = {"reset": draw.random() < 0.5, "save": draw.randint(1, 5)}
    check(tf_process, tmp_path, deaths, data=kind, model=model, devices=devices, **options)
