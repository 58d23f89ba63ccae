"""From every position of a run its end is the same, and from there on the other callbacks see each
batch once, as in an uninterrupted run.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.campaigns.exact.compare import Comparison, events
from tests.support.spread import spread

EPOCHS, BATCHES = 3, 11


def copy_until(run: Path, copy: Path, step: int) -> None:
    """The run as it was when its newest checkpoint was the one of `step`: a run can be copied, and
    the newest one on disk counts.
    """
    shutil.copytree(
        run,
        copy,
        ignore=lambda directory, names: [
            name
            for name in names
            if name.startswith("ckpt-")
            and name != f"ckpt-{step}-1"
            and Path(directory).name == "checkpoints"
        ],
    )


def left(records: list[list[Any]], step: int) -> list[list[Any]]:
    """What is to be seen after so many steps."""
    left = [record for record in records if record[0] != "epoch_begin"]
    index = [number for number, record in enumerate(left) if record[0] == "batch"][step - 1] + 1
    if index < len(left) and left[index][0] == "epoch_end":
        index += 1  # a save takes place when the next epoch has begun
    return left[index:]


def check_positions(
    steps: Iterable[int], kind: str, start: Any, directory: Path, **options: Any
) -> None:
    comparison = Comparison(start, directory, data=kind, epochs=EPOCHS, **options)
    plain = comparison.plain()
    assert comparison.interrupted([], save=1, keep="all") == plain
    expected = events(comparison.without)
    assert events(comparison.directory) == expected
    wrong = []
    for step in steps:
        run, directory_of_step = directory / f"run-{step}", directory / f"from-{step}"
        copy_until(comparison.run, run, step)
        result = comparison.attempt(directory_of_step, run)
        seen = [record for record in events(directory_of_step) if record[0] != "epoch_begin"]
        if (result, seen) != (plain, left(expected, step)):
            wrong.append(step)
        shutil.rmtree(run)
    assert wrong == [], (
        f"the positions from which the run goes on otherwise, of {EPOCHS} epochs with {BATCHES} "
        "batches"
    )


def test_every_eighth_position(tf_process: Any, tmp_path: Path) -> None:
    check_positions(
        range(4, EPOCHS * BATCHES + 1, 8), "two_shuffles", tf_process, tmp_path, validation=False
    )


@pytest.mark.parametrize("validation", spread([False, "plain"], 2, 1))
@pytest.mark.parametrize("anchors", spread([None, "none"], 2))
def test_positions_for_which_past_epochs_are_left_out(
    validation: Any, anchors: Any, tf_process: Any, tmp_path: Path
) -> None:
    """One shuffle, whose order of an epoch is in the checkpoint: also at the epochs' ends."""
    steps = [BATCHES + random.randrange(2, BATCHES - 1), 2 * BATCHES, 2 * BATCHES + 1]
    print("from", steps)
    options = {"validation": validation, "anchors": anchors}
    check_positions(steps, "shuffle_seeded", tf_process, tmp_path, **options)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["shuffle_global_seed", "two_shuffles"])
def test_every_position(kind: str, tf_process: Any, tmp_path: Path) -> None:
    check_positions(range(1, EPOCHS * BATCHES + 1), kind, tf_process, tmp_path)


def test_coming_back_deep_into_a_run_goes_through_few_calls_of_the_loops(
    tf_process: Any, tmp_path: Path
) -> None:
    """To batch 90 of the third epoch, past two evaluations of 50 batches: what a turn of Keras'
    loops costs counts in epochs, not in batches.
    """
    process = tf_process(
        dedent("""
        import json, sys
        import keras, numpy as np
        import ckptkit

        class Counting(ckptkit.CheckpointCallback):
            def on_train_batch_begin(self, batch, logs=None):
                seen.append([epoch, "train", batch])
                super().on_train_batch_begin(batch, logs)
            def on_test_batch_begin(self, batch, logs=None):
                seen.append([epoch, "test", batch])
                super().on_test_batch_begin(batch, logs)
            def on_epoch_begin(self, number, logs=None):
                global epoch
                epoch = number
                super().on_epoch_begin(number, logs)

        class Fail(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if first and (epoch, batch) == (2, 92): raise InterruptedError

        x, y = np.ones((100, 4), "float32"), np.ones((100, 1), "float32")
        for first in (True, False):
            keras.utils.set_random_seed(1)
            seen, epoch = [], None
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse")
            try:
                ours = Counting(sys.argv[1], save=ckptkit.EveryNSteps(10), export=False)
                model.fit(
                    x, y, batch_size=1, epochs=3, validation_data=(x[:50], y[:50]),
                    validation_batch_size=1, verbose=0, callbacks=[ours, Fail()],
                )
            except InterruptedError:
                pass
        print(json.dumps(seen))
    """),
        tmp_path / "run",
    )
    process.wait()
    process.check()
    seen = json.loads(process.stdout.splitlines()[-1])
    before = [[0, "train", 0], [0, "test", 0], [1, "train", 0], [1, "test", 0], [2, "train", 0]]
    assert seen == [
        *before,
        *([2, "train", batch] for batch in range(90, 100)),
        *([2, "test", batch] for batch in range(50)),
    ]
