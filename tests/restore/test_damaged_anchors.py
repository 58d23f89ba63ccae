"""One damaged byte in an anchor that several checkpoints share does not cost all of them."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptkit
from ckptkit.run.events import Restored

HERE = "tests.restore.test_damaged_anchors:"
ROWS, BATCH = 40, 4
PASS = ROWS // BATCH
DIES = 9
"""In this step. Saves 4 to 7 count from the anchor that save 4 took, and save 8 took another."""


def train(way: str, run: str, policy: int | None, seed: int | None, die: int) -> dict[str, Any]:
    """Trains an epoch on numbered rows; returns those of each batch."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(3)
    if seed is None:
        tf.random.set_seed(None)
    x = np.arange(ROWS, dtype="float32")[:, None]
    data = tf.data.Dataset.from_tensor_slices((x, x)).shuffle(ROWS, seed=seed).batch(BATCH)
    seen: list[list[int]] = []
    options: dict[str, Any] = {
        "save": ckptkit.EveryNSteps(1),
        "keep": ckptkit.KeepLatest(4),
        "background": False,
        "anchors": ckptkit.NoAnchors() if policy is None else ckptkit.AnchorEveryNBatches(policy),
    }
    with contextlib.suppress(InterruptedError):
        (in_fit if way == "fit" else in_loop)(run, data, seen, die, options)
    return {"seen": seen}


def in_fit(run: str, data: Any, seen: list[list[int]], die: int, options: Any) -> None:
    import keras
    import tensorflow as tf

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
            if batch + 1 == die:
                raise InterruptedError

    inputs = keras.Input((1,))
    model = Seen(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    ours = ckptkit.CheckpointCallback(run, export=False, **options)
    try:
        model.fit(data, verbose=0, callbacks=[ours, Dies()])
    finally:
        if restored_from(Path(run)):
            # The first step of a resumed process builds everything, and is discarded.
            del seen[0]


def in_loop(run: str, data: Any, seen: list[list[int]], die: int, options: Any) -> None:
    import tensorflow as tf

    with ckptkit.CheckpointManager(run, {"w": tf.Variable(0.0)}, **options) as manager:
        for _ in manager.epochs(1):
            for x, _ in manager.data(data):
                seen.append([int(row) for row in x[:, 0]])
                if manager.position.step + 1 == die:
                    raise InterruptedError


def damage(run: Path, anchor: str) -> None:
    """Flips a bit of a random byte of the anchor, which is the same file in all checkpoints."""
    newest = max(run.glob(f"checkpoints/*/{anchor}.index"), key=lambda path: path.parent.name)
    path = random.choice(sorted(newest.parent.glob(f"{anchor}.*")))
    content = bytearray(path.read_bytes())
    place = random.randrange(len(content))
    content[place] ^= 1 << random.randrange(8)
    print("damaged", path.name, "at", place)
    path.write_bytes(content)


def restored_from(run: Path) -> list[str]:
    return [each.checkpoint for each in ckptkit.open_run(run).journal if isinstance(each, Restored)]


@pytest.mark.parametrize("way", ["fit", "loop"])
def test_seeded_data_is_counted_from_the_start(way: str, tf_call: Any, tmp_path: Path) -> None:
    seed, run = random.randrange(1, 1000), tmp_path / "run"
    print("seed", seed)
    alone = tf_call(HERE + "train", way, str(tmp_path / "alone"), None, seed, 0).check().result
    first = tf_call(HERE + "train", way, str(run), 4, seed, DIES - 1).check().result
    damage(run, "data-4-1-0")
    second = tf_call(HERE + "train", way, str(run), 4, seed, 0).check()
    assert restored_from(run) == ["ckpt-7-1"]
    assert not list((run / "quarantine").glob("*"))
    assert first["seen"][:7] + second.result["seen"] == alone["seen"]
    assert "ckpt-7-1" in second.stderr
    assert "data-4-1-0" in second.stderr
    assert "a resume does without it" in second.stderr
    # It is no damaged one to the keep policy either, and the newer ones take its place.
    kept = sorted(each.step for each in ckptkit.open_run(run).checkpoints)
    assert kept == [7, 8, 9, 10]


@pytest.mark.parametrize("way", ["fit", "loop"])
def test_other_data_goes_back_to_another_anchor(way: str, tf_call: Any, tmp_path: Path) -> None:
    """Only the anchor has the order of a shuffle without a seed."""
    run = tmp_path / "run"
    first = tf_call(HERE + "train", way, str(run), 4, None, DIES).check().result
    damage(run, "data-8-1-0")
    second = tf_call(HERE + "train", way, str(run), 4, None, 0).check()
    assert restored_from(run) == ["ckpt-7-1"]
    rows = [row for batch in first["seen"][:7] + second.result["seen"] for row in batch]
    assert sorted(rows) == list(range(ROWS))
    moved = [path.name for path in (run / "quarantine").glob("ckpt*") if path.is_dir()]
    assert moved == ["ckpt-8-1"]
