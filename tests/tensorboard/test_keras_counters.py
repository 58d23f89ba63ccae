"""Keras' `TensorBoard` continues its own counters after a resume.

These are batches, evaluations, the points that it writes of many, and an interrupted profile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tensorboard.readers import Shown, multiplexer

# Ten fits. tests/tensorboard/test_resume_in_both_loaders.py has one resume, and
# tests/compat/test_private_names.py what it rests on.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def counted(
    fork_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("counts")
    return directory, fork_server.call("tests.tensorboard.programs:counts", str(directory)).check(
        timeout=400
    ).result


def test_counts_are_those_of_an_uninterrupted_run(counted: Any) -> None:
    for without, resumed in zip(counted[1][::2], counted[1][1::2], strict=True):
        assert resumed == without
        assert resumed["trained"] == 50
        assert not resumed["tracing"]
        assert not resumed["profiling"]


@pytest.mark.parametrize("name", ["epoch", "seventh"])
def test_each_point_is_there_once(name: str, counted: Any) -> None:
    def shown(interrupted: bool) -> Shown:
        return multiplexer(counted[0] / f"{name}-{interrupted}" / "logs")

    assert shown(True) == shown(False)
    if name == "epoch":
        assert (
            shown(True)["train/epoch_loss"]
            == shown(True)["validation/epoch_loss"]
            == [0, 1, 2, 3, 4]
        )
    else:  # Keras thins out what it writes at the end of an epoch by the number of the last batch
        assert shown(True)["train/batch_loss"] == list(range(7, 51, 7))
