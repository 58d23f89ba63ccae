"""An evaluator beside a training: it reads the newest checkpoint in a loop, as fast as it can, with
TensorFlow.
"""

from __future__ import annotations

import time

import tensorflow as tf

import ckptkit
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.verify import verify


def evaluate(run: str, secs: float) -> list[int]:
    """Reads for so many seconds.

    Returns:
        The step of each checkpoint that was read, whole and verified.
    """
    found = ckptkit.open_run(run)

    def read(checkpoint: Checkpoint) -> int:
        verify(checkpoint)
        reader = tf.train.load_checkpoint(str(checkpoint.prefix))
        for key, dtype in reader.get_variable_to_dtype_map().items():
            if dtype != tf.variant:  # the position of the data, which NumPy has no type for
                reader.get_tensor(key)
        return int(reader.get_tensor("optimizer/optimizer/0/.ATTRIBUTES/VARIABLE_VALUE"))

    steps, end = [], time.monotonic() + secs
    while time.monotonic() < end:
        step = found.read(read)
        with found.reading() as checkpoint:
            assert read(checkpoint) == checkpoint.step
        steps.append(step)
    return steps
