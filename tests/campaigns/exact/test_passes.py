"""Passes over data that are broken off, go on at once, or are counted in the middle of their body:
the run ends with the same bits.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import events_of
from tests.support.spread import spread

PROGRAM = Path(__file__).with_name("passes_program.py")


def run(
    start: Any, directory: Path, deaths: list[dict[str, Any]], **options: Any
) -> tuple[Any, dict[int, str]]:
    directory.mkdir()
    for death in [*deaths, {}]:
        process = start(
            PROGRAM, json.dumps({**options, **death, "run": str(directory / "run")}), cwd=directory
        )
        expected = (
            0 if "die" not in death else 75 if death.get("signal") == "SIGTERM" else -signal.SIGKILL
        )
        assert process.wait() == expected, process.stderr
    losses: dict[int, str] = {}
    for line in (directory / "losses.jsonl").read_text().splitlines():
        step, loss = json.loads(line)
        assert losses.setdefault(step, loss) == loss, (
            f"step {step} was done twice, with other values"
        )
    return json.loads((directory / "result.json").read_text())["digest"], losses


WAYS = {
    # What is done in an epoch; which data; where the process dies; the steps of the whole run.
    "broken off": (
        {"data": "shuffle", "second": "two_shuffles"},
        [{"die": 3}, {"die": 15}, {"die": 6, "signal": "SIGTERM"}],
        3 * (4 + 11),
    ),
    "broken off, generators": (
        {"data": "from_generator", "second": "list"},
        [{"die": 9}, {"die": 18, "signal": "SIGTERM"}],
        3 * (4 + 11),
    ),
    "broken off last": ({"data": "shuffle"}, [{"die": 4, "signal": "SIGTERM"}, {"die": 3}], 3 * 4),
    "at once": (
        {"data": "shuffle", "second": "two_shuffles"},
        [{"die": 3}, {"die": 12, "signal": "SIGTERM"}, {"die": 5}],
        3 * 11,
    ),
    "at once, of other lengths": (
        {"data": "repeat", "second": "list"},
        [{"die": 7}, {"die": 9, "signal": "SIGTERM"}],
        3 * 11,
    ),
    "safe point": (
        {"data": "shuffle"},
        [{"die": 4, "signal": "SIGTERM"}, {"die": 9, "signal": "SIGTERM"}],
        3 * 11,
    ),
    "safe point, generators": (
        {"data": "from_generator"},
        [{"die": 4, "signal": "SIGTERM"}, {"die": 9, "signal": "SIGTERM"}],
        3 * 11,
    ),
    "save inside": (
        {"data": "shuffle", "save": 100},
        [{"die": 4}, {"die": 9}, {"die": 6, "signal": "SIGTERM"}],
        3 * 11,
    ),
    "save inside, generators": (
        {"data": "from_generator", "save": 100},
        [{"die": 4}, {"die": 9}],
        3 * 11,
    ),
    "left": (
        {"data": "two_shuffles", "save": 100},
        [{"leave": 5}, {"leave": 0}, {"leave": 9}],
        3 * 11,
    ),
}


@pytest.mark.parametrize("way", spread(list(WAYS), 4))
def test_it_goes_on_exactly(way: str, tf_process: Any, tmp_path: Path) -> None:
    options, deaths, steps = WAYS[way]
    options = {"how": way.partition(",")[0], **options}
    plain = run(tf_process, tmp_path / "plain", [], **options)
    assert sorted(plain[1]) == list(range(1, steps + 1))
    assert run(tf_process, tmp_path / "interrupted", deaths, **options) == plain


@pytest.mark.parametrize(
    ("ends", "said"), [("break", True), ("exhausted", False), ("break in the second epoch", False)]
)
def test_a_cache_that_is_filled_in_part_is_said(ends: str, said: bool, tmp_path: Path) -> None:
    """TensorFlow reads ahead: whether the next pass finds a whole cache depends on how fast the
    program was, also of one that nobody interrupts.
    """
    import tensorflow as tf

    import ckptkit

    data = tf.data.Dataset.range(8).shuffle(8, seed=1).cache()
    manager = ckptkit.CheckpointManager(
        tmp_path / "run", {"weight": tf.Variable(1.0)}, background=False
    )
    with manager:
        for epoch in manager.epochs(3):
            for _ in manager.data(data):
                if ends == "break" or (epoch == 1 and ends != "exhausted"):
                    break
    reasons = [event.reason for event in events_of(tmp_path / "run", "inexact")]
    assert [("cache()" in reason) for reason in reasons] == [True] * said
