"""A training that waits for a word, and then saves at every step: what is traced and killed is
TensorFlow's own writing.

saves.py RUN FIRST LAST
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import ckptkit


def values(step: int) -> np.ndarray:
    return np.random.RandomState(step).rand(5000).astype("float32")


def frozen() -> np.ndarray:
    """Values that are large enough to have a data file of their own, which checkpoints share."""
    return np.random.RandomState(0).rand(300_000).astype("float32")


def main(run: str, first: int, last: int) -> None:
    weight = tf.Variable(tf.zeros([5000]))
    base = tf.Variable(tf.zeros([300_000]))
    state = {"weight": weight, "base": base}
    manager = ckptkit.CheckpointManager(run, state, keep=ckptkit.KeepLatest(2))
    with manager:
        at = manager.latest_step
        assert at is None or (weight.numpy() == values(at)).all(), "another value was restored"
        assert at is None or (base.numpy() == frozen()).all(), "another value was restored"
        base.assign(frozen())
        print(f"restored {at or 0}", flush=True)
        if last:
            weight.assign(values(first))
            manager.save(first)
            manager.wait_until_finished()
            print("ready", flush=True)
            while not Path("go").exists():
                time.sleep(0.01)
            for step in range(first + 1, last + 1):
                weight.assign(values(step))
                manager.save(step)
                manager.wait_until_finished()
                print(f"confirmed {step}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
