"""An interrupted loop over epochs ends with the bits of an uninterrupted one."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.spread import spread

PROGRAM = Path(__file__).with_name("loop_program.py")


def run(
    start: Any, directory: Path, deaths: list[dict[str, Any]], **options: Any
) -> tuple[Any, dict[int, str]]:
    directory.mkdir()
    for death in [*deaths, {}]:
        process = start(
            PROGRAM, json.dumps({**options, **death, "run": str(directory / "run")}), cwd=directory
        )
        expected = 0 if not death else 75 if death.get("signal") == "SIGTERM" else -signal.SIGKILL
        assert process.wait() == expected, process.stderr
    losses: dict[int, str] = {}
    for line in (directory / "losses.jsonl").read_text().splitlines():
        step, loss = json.loads(line)
        assert losses.setdefault(step, loss) == loss, (
            f"step {step} was done twice, with other values"
        )
    return json.loads((directory / "result.json").read_text())["digest"], losses


@pytest.mark.parametrize(
    "kind",
    spread(
        [
            "shuffle",
            "two_shuffles",
            "cache",
            "repeat",
            "from_generator",
            "list",
            "shuffled",
            "concatenate",
        ],
        3,
    ),
)
def test_one_pass(kind: str, tf_process: Any, tmp_path: Path) -> None:
    plain = run(tf_process, tmp_path / "plain", [], data=kind)
    deaths = [{"die": 4}, {"die": 9, "signal": "SIGTERM"}, {"die": 10}]
    assert run(tf_process, tmp_path / "interrupted", deaths, data=kind) == plain


def test_two_passes_in_an_epoch(tf_process: Any, tmp_path: Path) -> None:
    plain = run(tf_process, tmp_path / "plain", [], data="shuffle", second="two_shuffles")
    deaths = [{"die": 15}, {"die": 17}, {"die": 12, "signal": "SIGTERM"}]
    assert (
        run(tf_process, tmp_path / "interrupted", deaths, data="shuffle", second="two_shuffles")
        == plain
    )
