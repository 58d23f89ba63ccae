"""Runs whose batches are counted: continued after their end, with lost files, with other seeds."""

from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptkit

PROGRAM = "tests.keras.test_redrawn_batches:"
POLICIES = ["default", "4", "none"]
ROWS, BATCH = 40, 4
PASSES = ROWS // BATCH


def policy_of(name: str) -> Any:
    if name == "default":
        return None
    return ckptkit.NoAnchors() if name == "none" else ckptkit.AnchorEveryNBatches(int(name))


def train(run: str, policy: str, epochs: int, seed: int | None, die: int = 0) -> dict[str, Any]:
    """Trains on numbered rows; returns those of each batch, and how the run ended."""
    import keras
    import tensorflow as tf

    seen: list[list[int]] = []

    class Seen(keras.Model):
        def train_step(self, data: Any) -> Any:
            written = tf.py_function(self.write, [data[0]], [tf.int32])
            with tf.control_dependencies(written):
                return super().train_step(data)

        def write(self, rows: Any) -> int:
            seen.append([int(row) for row in rows[:, 0]])
            return 0

    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if die and int(self.model.optimizer.iterations) == die:
                raise InterruptedError

    keras.utils.set_random_seed(3)
    if seed is None:
        tf.random.set_seed(None)
    inputs = keras.Input((1,))
    model = Seen(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    x = np.arange(ROWS, dtype="float32")[:, None]
    data = tf.data.Dataset.from_tensor_slices((x, x)).shuffle(ROWS, seed=seed).batch(BATCH)
    ours = ckptkit.CheckpointCallback(
        run,
        save=ckptkit.EveryNSteps(1),
        background=False,
        export=False,
        anchors=policy_of(policy),
        keep=ckptkit.KeepLatest(2),
    )
    with contextlib.suppress(InterruptedError):
        model.fit(data, epochs=epochs, verbose=0, callbacks=[ours, Dies()])
    weights = [value.numpy().tobytes().hex() for value in model.weights]
    return {"seen": seen, "steps": int(model.optimizer.iterations), "weights": weights}


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_finished_run_that_trains_longer(
    tf_call: Any, tmp_path: Path, policy: str, seed: int | None
) -> None:
    """The next epoch has all rows, also if it is interrupted itself."""
    run = str(tmp_path / "run")
    first = tf_call(PROGRAM + "train", run, policy, 1, seed).check().result
    assert first["steps"] == PASSES
    die = PASSES + random.randrange(2, PASSES - 1)
    print("dies at", die)
    second = tf_call(PROGRAM + "train", run, policy, 2, seed, die).check().result
    third = tf_call(PROGRAM + "train", run, policy, 2, seed).check().result
    assert third["steps"] == 2 * PASSES
    if seed is not None:
        alone = tf_call(PROGRAM + "train", str(tmp_path / "alone"), policy, 2, seed).check().result
        assert third["weights"] == alone["weights"]
    # The first batch of a resumed process is the discarded step that builds everything. What is
    # saved is the state before the step in which it dies.
    epoch = second["seen"][1 : die - PASSES] + third["seen"][1:]
    assert sorted(row for batch in epoch for row in batch) == list(range(ROWS))


def test_the_files_of_an_anchor_may_disappear(tf_call: Any, tmp_path: Path) -> None:
    """Seeded data is counted from the start then, until the next anchor."""
    run = tmp_path / "run"
    result = tf_call(PROGRAM + "train_and_delete", str(run)).check().result
    assert result["names"] == [["data-4-1-0"], [""], ["data-7-1-0"]]
    alone = tf_call(PROGRAM + "train", str(tmp_path / "alone"), "none", 1, 7).check().result
    again = tf_call(PROGRAM + "train", str(run), "none", 1, 7).check().result
    assert again["weights"] == alone["weights"]


def train_and_delete(run: str) -> dict[str, Any]:
    """Trains until after an anchor, deletes all checkpoints, and trains one step more."""
    import tensorflow as tf

    from ckptkit.run.manifest import read_manifest

    def names() -> list[str]:
        (newest,) = sorted(Path(run, "checkpoints").glob("ckpt-*-*"))[-1:]
        return [anchor.name for anchor in read_manifest(newest).anchors]

    found = []

    class Deletes(ckptkit.CheckpointCallback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_begin(batch, logs)
            if batch == 6:
                found.append(names())
                for path in Path(run, "checkpoints").glob("ckpt-*-*"):
                    shutil.rmtree(path)
            if batch > 6:
                found.append(names())
            if batch == 8:
                raise InterruptedError

    original = ckptkit.CheckpointCallback
    ckptkit.CheckpointCallback = Deletes  # type: ignore[misc]
    try:
        train(run, "4", 1, 7)
    finally:
        ckptkit.CheckpointCallback = original  # type: ignore[misc]
    tf.keras.backend.clear_session()
    return {"names": found}


def test_other_seeds_are_named(tf_call: Any, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    tf_call(PROGRAM + "train", run, "none", 1, 7, 5).check()
    same = tf_call(PROGRAM + "train", run, "none", 1, 7, 6).check()
    assert "other seeds" not in same.stderr
    other = tf_call(PROGRAM + "train", run, "none", 1, 8).check()
    assert "the data has another pipeline or other seeds" in other.stderr
    assert other.result["steps"] == PASSES


def test_an_anchor_brings_its_seeds_along(tf_call: Any, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    first = tf_call(PROGRAM + "train", run, "4", 1, 7, 6).check()
    other = tf_call(PROGRAM + "train", run, "4", 1, 8).check()
    assert "other seeds" not in other.stderr
    rows = first.result["seen"][:5] + other.result["seen"][1:]
    assert sorted(row for batch in rows for row in batch) == list(range(ROWS))
