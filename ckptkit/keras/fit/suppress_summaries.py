"""Suppresses the summaries of a discarded step, so that it leaves no points in event files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import tensorflow as tf

from ckptkit.compat.tf_summary import write_summaries_if


@contextmanager
def suppressed_summaries() -> Iterator[None]:
    """In the block, trace the summaries of a train step as usual, but do not write them."""
    # The function that is traced here is used for training later. So whether it writes must not be
    # a constant in it: a variable is asked at each step.
    writes = _writes_summaries()
    writes.assign(False)
    try:
        with write_summaries_if(writes.read_value):
            yield
    finally:
        writes.assign(True)


@cache
def _writes_summaries() -> tf.Variable:
    """Return the one variable of the process: traced functions read it as long as they live."""
    return tf.Variable(True, trainable=False, name="ckptkit_writes_summaries")
