"""Programs that draw from random states of the process, for `test_random_state.py`."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.tracking.leaves import PythonLeaf
from ckptkit.tracking.python_state import ProcessRandom
from ckptkit.tracking.random_draws import draws
from tests.support.tiny_models import tiny_model

ROWS = 12


class _Seen:
    """A digest of all numbers that were drawn, which is part of the state.

    Args:
        dies: after how many drawn numbers of this process it is killed; 0 for never.
    """

    def __init__(self, dies: int) -> None:
        self._digest, self._left = "", dies

    def add(self, *values: Any) -> None:
        text = self._digest + "".join(np.asarray(value).tobytes().hex() for value in values)
        self._digest = hashlib.sha256(text.encode()).hexdigest()

    def die_if_due(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def get_state(self) -> str:
        return self._digest

    def set_state(self, state: str) -> None:
        self._digest = state


def steps(run: str, seed: int, dies: int) -> str:
    """A loop whose turns draw eagerly, and make a dataset that shuffles without a seed."""
    tf.random.set_seed(seed)
    tf.random.set_global_generator(tf.random.Generator.from_seed(seed))
    seen = _Seen(dies)
    with ckptkit.CheckpointManager(
        run, {"seen": seen}, save=ckptkit.EveryNSteps(1), background=False, exact="require"
    ) as manager:
        for _ in manager.steps(8):
            order = list(tf.data.Dataset.range(ROWS).shuffle(ROWS).as_numpy_iterator())
            seen.add(tf.random.normal((3,)), tf.random.gamma((2,), 0.5), order)
            seen.add(tf.random.get_global_generator().normal((2,)))
            seen.die_if_due()
    return seen.get_state()


def epochs(run: str, seed: int, dies: int) -> str:
    """A loop whose epochs draw an order, and make a dataset, before their batches."""
    keras.utils.set_random_seed(seed)
    seen = _Seen(dies)
    with ckptkit.CheckpointManager(
        run, {"seen": seen}, save=ckptkit.EveryNSteps(1), background=False, exact="require"
    ) as manager:
        for _ in manager.epochs(3):
            rows = np.random.permutation(ROWS) + random.randrange(100)
            dataset = tf.data.Dataset.from_tensor_slices(rows).shuffle(ROWS).batch(3)
            for batch in manager.data(dataset):
                seen.add(batch, tf.random.normal((3,)), np.random.normal(), random.random())
                seen.die_if_due()
    return seen.get_state()


def fit(run: str, seed: int, dies: int, eager: bool) -> str:
    """A `fit` with a callback that draws eagerly, and a layer that does if nothing is traced."""

    class Draws(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.add(tf.random.normal((3,)))
            seen.die_if_due()

        def get_state(self) -> str:
            return seen.get_state()

        def set_state(self, state: str) -> None:
            seen.set_state(state)

    class Noise(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs + (tf.random.normal(tf.shape(inputs)) if eager else 0.0)

    keras.utils.set_random_seed(seed)
    seen = _Seen(dies)
    model = keras.Sequential([keras.Input((2,)), Noise(), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=eager)
    rows = np.random.default_rng(seed).normal(size=(ROWS, 2)).astype("float32")
    ours = ckptkit.CheckpointCallback(
        run, save=ckptkit.EveryNSteps(1), background=False, export=False, exact="require"
    )
    model.fit(rows, rows[:, :1], batch_size=3, epochs=3, verbose=0, callbacks=[ours, Draws()])
    seen.add(*model.get_weights())
    return seen.get_state()


def older_checkpoint(run: str) -> list[bool]:
    """Restores a checkpoint that knows nothing of TensorFlow's eager state."""
    tf.random.set_seed(3)
    model = tiny_model()
    manager = ckptkit.CheckpointManager(run, {"model": model})
    own = manager.open_session().tracked.random
    state = own.get_state()
    del state["tensorflow"]
    expected = random.random()
    tf.random.set_seed(3)
    first = float(tf.random.normal(()))
    tf.random.set_seed(3)
    own.set_state(state)
    manager.close()
    return [random.random() == expected, float(tf.random.normal(())) == first]


def encoded_later(seed):
    """Return whether a state that another thread encodes later is that of its own moment."""
    generator = random.Random(seed)
    tf.random.set_seed(generator.randrange(2**31))
    np.random.seed(generator.randrange(2**31))
    random.seed(generator.random())
    _draw()  # creates the generator of the replaced operations
    process = ProcessRandom()
    key, read, write = "process/state/0", process.get_state, process.set_state
    leaf = PythonLeaf(key, "process", read, write, returns_copies=True)
    encode = leaf.capture_for_later()
    first = _draw()
    second = _draw()
    found = []
    thread = threading.Thread(target=lambda: found.append(encode()))
    thread.start()
    thread.join()
    leaf.assign(found[0])
    return [first != second, _draw() == first, _draw() == second]


def _draw():
    own = draws.next_seed(7)
    return [
        random.random(),
        float(np.random.rand()),
        float(tf.random.uniform([])),
        own.numpy().tolist(),
    ]
