"""What the callbacks beside ours have learned and written is, over all attempts, what it is in a
run that nobody interrupts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.campaigns.exact.compare import Comparison
from tests.support.spread import spread

KILLS = [{"batch": [1, 3]}, {"evaluation": [2, 1]}, {"batch": [4, 9]}]


# -- CSVLogger


@pytest.mark.parametrize("kind", spread(["csv", "csv_append"]))
def test_csv_logger_writes_each_epoch_once(kind: str, tf_process: Any, tmp_path: Path) -> None:
    comparison = Comparison(tf_process, tmp_path, callbacks=kind, epochs=5)
    comparison.check([{"batch": [0, 4]}, *KILLS], save=4)
    written = (comparison.directory / "log.csv").read_text()
    assert written == (comparison.without / "log.csv").read_text()
    assert len(written.splitlines()) == 6


def test_csv_logger_where_nothing_was_saved_yet(tf_process: Any, tmp_path: Path) -> None:
    """The first attempt dies in its first epoch, the second one in its second, both before the
    first save.
    """
    comparison = Comparison(tf_process, tmp_path, callbacks="csv", epochs=3)
    comparison.check([{"batch": [0, 4]}, {"batch": [1, 2]}, {"batch": [2, 9]}], save=28)


def test_csv_logger_after_a_signal(tf_process: Any, tmp_path: Path) -> None:
    comparison = Comparison(tf_process, tmp_path, callbacks="csv", epochs=3)
    comparison.check(
        [{"last": 0, "signal": "SIGTERM"}, {"evaluation": [1, 2], "signal": "SIGTERM"}],
        save="epoch",
    )


# -- TensorBoard


def scalars(directory: Path) -> dict[str, dict[int, float]]:
    """The values that event files have, by tag and step; one that was written twice must be the
    same both times.
    """
    found: dict[str, dict[int, float]] = {}
    for file in sorted(directory.rglob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name != "scalars" and value.tag == "keras":
                    continue
                by_step = found.setdefault(f"{file.parent.name}/{value.tag}", {})
                number = float(tf.make_ndarray(value.tensor))
                same = by_step.setdefault(event.step, number) == number or "per_second" in value.tag
                assert same, (
                    f"{value.tag} was written twice for step {event.step}, with other values"
                )
    return found


def test_tensorboard_counts_on(tf_process: Any, tmp_path: Path) -> None:
    """The batch numbers of its scalars, over all attempts, have no gap and no other value than in
    an uninterrupted run.
    """
    comparison = Comparison(tf_process, tmp_path, callbacks="tensorboard", epochs=5)
    comparison.check(KILLS, save=2)
    expected, seen = scalars(comparison.without / "logs"), scalars(comparison.directory / "logs")
    batches = expected["train/batch_loss"]
    assert len(batches) == 5 * 11
    assert max(batches) - min(batches) + 1 == len(batches)
    steady = {tag: values for tag, values in expected.items() if "per_second" not in tag}
    assert len(steady) >= 6
    assert {tag: seen.get(tag) for tag in steady} == steady


# -- Keras' own that remember a best value


def test_model_checkpoint_keeps_its_best(tf_process: Any, tmp_path: Path) -> None:
    Comparison(tf_process, tmp_path, callbacks="best", epochs=6).check(KILLS, save=3)


@pytest.mark.parametrize("signal", spread(["SIGKILL", "SIGTERM"]))
def test_early_stopping_gives_the_best_weights_back(
    signal: str, tf_process: Any, tmp_path: Path
) -> None:
    """The best epoch's weights, which training has left long ago when it is killed."""
    comparison = Comparison(tf_process, tmp_path, callbacks="best_weights", model="sgd", epochs=30)
    plain = comparison.plain()
    best, stopped = plain["beside"]["EarlyStopping"][1:3]
    assert 1 <= best < stopped - 1, (
        f"the program is to stop early: best epoch {best}, stopped in {stopped}"
    )
    deaths = [{"batch": [best + 1, 2]}, {"evaluation": [best + 2, 1]}, {"batch": [stopped, 9]}]
    resumed = comparison.interrupted([{**death, "signal": signal} for death in deaths], save=4)
    comparison.compare(plain, resumed)


# -- the user's own


def test_callbacks_of_the_user(tf_process: Any, tmp_path: Path) -> None:
    """With `get_state`/`set_state`, with `state_dict`/`load_state_dict`, with plain attributes, and
    one of functions alone.
    """
    comparison = Comparison(tf_process, tmp_path, callbacks="own", epochs=5)
    comparison.check(KILLS, save=4)
    told, expected = lines_of(comparison.directory), lines_of(comparison.without)
    ends = {epoch: loss for kind, epoch, loss in (line for line in told if line[0] == "end")}
    assert [["end", epoch, loss] for epoch, loss in sorted(ends.items())] == [
        line for line in expected if line[0] == "end"
    ]
    assert told.count(["train"]) == len(KILLS) + 1
    assert told.count(["over"]) == 1
    assert told[-1] == ["over"]


def lines_of(directory: Path) -> list[list[Any]]:
    return [json.loads(line) for line in (directory / "lambda.jsonl").read_text().splitlines()]
