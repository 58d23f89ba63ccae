"""The recipes of the documentation run as they stand there."""

from __future__ import annotations

import re

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
