"""Notes what a `tf.train.Checkpoint` restores, which TensorFlow does not tell afterwards."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def note_restores(checkpoint: tf.train.Checkpoint, note: Callable[[str], None]) -> None:
    """Call a function with the path of everything that `checkpoint.restore` restores.

    `save_counter` is no proof: another checkpoint may have the same number.

    Args:
        checkpoint: the checkpoint; its method `restore` is replaced on this object.
        note: called after each restore.
    """
    restore = checkpoint.restore

    @functools.wraps(restore)
    def noting(save_path: Any, options: Any = None) -> Any:
        status = restore(save_path, options)
        note("" if save_path is None else os.fsdecode(save_path))
        return status

    vars(checkpoint)["restore"] = noting
