"""The recipes of the documentation run as they stand there."""

from __future__ import annotations

import difflib
import re
from typing import Any

import keras
import pytest

import ckptkit
from tests.support.processes import ROOT


def recipes(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)


@pytest.fixture(autouse=True)
def _in_a_new_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_beginning_a_run_with_saved_weights(tmp_path):
    (recipe,) = recipes("warm-start.md")
    exec(compile(recipe, "docs/warm-start.md", "exec"), {})
    loaded = {
        name: [
            event.weights
            for event in ckptkit.open_run(tmp_path / "runs" / name).journal
            if event.event == "warm_started"
        ]
        for name in "abc"
    }
    assert loaded == {"a": [], "b": [4], "c": [2]}


MOST_CHANGED = 3
"""The lines that a program may have to change."""


def pair(page: str) -> tuple[str, str]:
    """The program before and after, of a page with two programs."""
    before, after = recipes(page)
    changed = [
        line
        for line in difflib.ndiff(before.splitlines(), after.splitlines())
        if line.startswith("+ ")
    ]
    print(f"{page}: {len(changed)} changed lines")
    assert 0 < len(changed) <= MOST_CHANGED, changed
    return before, after


def run(program: str, name: str) -> dict[str, Any]:
    keras.utils.set_random_seed(1)
    found: dict[str, Any] = {}
    exec(compile(program, name, "exec"), found)
    return found


def test_coming_from_tensorflows_manager(tmp_path):
    before, after = pair("coming-from/tensorflow-checkpoint-manager.md")
    first, second = run(before, "before"), run(after, "after")
    second["manager"].close()
    weights = [
        [each.numpy().tolist() for each in found["net"].weights] for found in (first, second)
    ]
    assert weights[0] == weights[1]
    numbers = [
        [int(path.rsplit("-", 1)[1]) for path in found["manager"].checkpoints]
        for found in (first, second)
    ]
    assert numbers == [[10, 15, 20]] * 2
    again = run(after, "after")
    assert int(again["checkpoint"].step) == 20
    again["manager"].close()
    assert ckptkit.open_run(tmp_path / "runs/a").checkpoints[-1].attempt == 1


@pytest.mark.parametrize(
    "page",
    ["backup-and-restore", "model-checkpoint", pytest.param("orbax", marks=pytest.mark.long)],
)
def test_coming_from_a_callback_of_keras(tmp_path, page):
    if page == "orbax":
        pytest.importorskip("orbax.checkpoint")
    before, after = pair(f"coming-from/{page}.md")
    models = [run(program, page)["model"] for program in (before, after)]
    weights = [[each.numpy().tolist() for each in model.weights] for model in models]
    assert weights[0] == weights[1]
    assert ckptkit.open_run(tmp_path / "runs/a").checkpoints
