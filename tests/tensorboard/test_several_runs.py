"""Event files of several runs in one directory, of a rollback, and out of reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tensorboard.readers import multiplexer


def test_other_runs_of_one_process(tf_call: Any, tmp_path: Path) -> None:
    for dies in (True, False):
        tf_call("tests.tensorboard.loops:sweep", str(tmp_path), dies).check(code=-9 if dies else 0)
        first = list((tmp_path / "logs" / "first").iterdir())
        assert not [path.name for path in first if "restart" in path.name or "before" in path.name]
    once = list(range(1, 31))
    assert multiplexer(tmp_path / "logs") == {
        "first/loss": once[:15],
        "second/loss": once,
        "third/loss": once,
    }


def test_going_back(tf_call: Any, tmp_path: Path) -> None:
    """To a checkpoint of the attempt before, and to one of its own; what led to them is there, and
    what came after them is not.
    """
    for stops in ([23], [25, 27, 35, 48], []):
        tf_call("tests.tensorboard.loops:back", str(tmp_path), stops).check(code=-9 if stops else 0)
    assert multiplexer(tmp_path / "logs") == {"back/loss": list(range(1, 51))}


def test_a_directory_that_is_out_of_reach_costs_no_training(tf_call: Any, tmp_path: Path) -> None:
    done = tf_call("tests.tensorboard.loops:out_of_reach", str(tmp_path)).check()
    assert done.result == 3
    assert "TensorBoard may show points that no longer" in done.stderr
