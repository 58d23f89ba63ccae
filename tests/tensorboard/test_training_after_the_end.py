"""A program trains again after the end of a training, and is killed: each point stays once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tensorboard.readers import multiplexer


@pytest.mark.parametrize("attempts", [1, 2])
def test_each_point_is_there_once(attempts: int, tf_call: Any, tmp_path: Path) -> None:
    for dies in (True, False):
        tf_call("tests.tensorboard.programs:ends", str(tmp_path), attempts, dies).check(
            code=-9 if dies else 0
        )
    assert multiplexer(tmp_path / "logs") == {"./loss": list(range(1, 41)), "./test": [20, 40]}


def test_a_fit_with_the_callbacks_of_one_that_was_left(tf_call: Any, tmp_path: Path) -> None:
    assert tf_call("tests.tensorboard.programs:same_callbacks", str(tmp_path)).check().result == [
        "KeyboardInterrupt"
    ]
    assert multiplexer(tmp_path / "logs")["train/batch_loss"] == list(range(1, 41))


def test_a_fit_that_was_left_ends_no_later_one(tf_call: Any, tmp_path: Path) -> None:
    assert tf_call("tests.tensorboard.programs:same_manager", str(tmp_path)).check().result == [
        "failed",
        "finished",
    ]
