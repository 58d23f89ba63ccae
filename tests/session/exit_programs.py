"""Programs that end with their run open."""

from __future__ import annotations

import tensorflow as tf

import ckptkit


def left_open(run: str) -> None:
    """Trains by hand, and never closes the run."""
    manager = ckptkit.CheckpointManager(run, {"weight": tf.Variable(0.0)})
    manager.restore_or_initialize()
    manager.save(1)


def left_by_an_exception(run: str) -> None:
    left_open(run)
    raise ValueError("by the program")
