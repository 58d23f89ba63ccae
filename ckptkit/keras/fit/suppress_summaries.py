"""Suppresses TensorBoard summaries of a discarded step, so that it writes no points."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import tensorflow as tf

from ckptkit.compat.tf_summary import write_summaries_if


@contextmanager
def suppressed_summaries() -> Iterator[None]:
    """In the block, trace the summaries of a train step, but do not write them."""
    # The function that is traced here trains later. So it must read from a variable at each step
    # whether to write, instead of a traced constant.
    writes = _writes_summaries()
    writes.assign(False)
    try:
        with write_summaries_if(writes.read_value):
            yield
    finally:
        writes.assign(True)


@cache
def _writes_summaries() -> tf.Variable:
    """Return the variable that controls whether summaries are written.

    The process has only one, because traced functions read it as long as they exist.
    """
    return tf.Variable(True, trainable=False, name="ckptkit_writes_summaries")
