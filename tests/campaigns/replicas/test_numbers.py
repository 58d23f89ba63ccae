"""A `fit` that was begun on some devices continues on others, with the same samples."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.exact.compare import Comparison, events

PROGRAM = Path(__file__).with_name("fit_program.py")


def test_from_four_to_two_to_one_to_four(tf_process: Any, tmp_path: Path) -> None:
    """A model without noise follows the losses of one replica, but for their last digits; so no
    sample was missed or repeated, and no sum of a metric was lost.
    """
    options = {"model": "linear", "data": "two_shuffles", "epochs": 2, "save": 1}
    compared = Comparison(tf_process, tmp_path, PROGRAM, **options)
    plain = compared.plain(devices=1)
    deaths = [
        (4, {"batch": [0, 5], "signal": "SIGTERM"}),
        (2, {"batch": [1, 3]}),
        (1, {"batch": [1, 7], "signal": "SIGTERM"}),
    ]
    for devices, death in deaths:
        code = 75 if "signal" in death else -signal.SIGKILL
        compared.attempt(compared.directory, compared.run, {code}, devices=devices, die=death)
    refused = compared.attempt(compared.directory, compared.run, {1}, devices=4, exact="require")
    assert refused == {}
    ended = compared.attempt(compared.directory, compared.run, devices=4)
    assert numbers(ended) == pytest.approx(numbers(plain), rel=1e-4)
    batches = [record[1:3] for record in events(compared.directory) if record[0] == "batch"]
    assert sorted(set(map(tuple, batches))) == [
        (epoch, batch) for epoch in range(2) for batch in range(11)
    ]
    assert [reasons(compared.run, attempt) for attempt in (1, 2, 3, 5)] == [
        [],
        ["4 replicas of tf.distribute, and the program has 2 now"],
        ["2 replicas of tf.distribute, and the program has 1 now"],
        ["1 replica of tf.distribute, and the program has 4 now"],
    ]


def numbers(result: dict[str, Any]) -> list[float]:
    history = result["history"]
    return [float.fromhex(value) for name in sorted(history) for value in history[name]]


def reasons(run: Path, attempt: int) -> list[str]:
    """What an attempt has said of replicas."""
    lines = (run / "journal" / f"attempt-{attempt:06}.jsonl").read_text().splitlines()
    said = [record["reason"] for record in map(json.loads, lines) if record["event"] == "inexact"]
    return [
        reason.removeprefix("the state was saved from ").partition(", which")[0] for reason in said
    ]
