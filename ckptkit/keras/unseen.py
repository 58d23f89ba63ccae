"""A step that is thrown away leaves no points in event files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import tensorflow as tf


@contextmanager
def unseen() -> Iterator[None]:
    """In its block, summaries of a train step are traced as ever, and not written.

    What is traced there goes on to be used. So whether it writes is asked of a variable, each time.
    """
    writes, before = _writes(), tf.summary.should_record_summaries()
    writes.assign(False)
    try:
        with tf.summary.record_if(lambda: tf.logical_and(writes.read_value(), before)):
            yield
    finally:
        writes.assign(True)


@cache
def _writes() -> tf.Variable:
    """Functions that were traced look at it for as long as they live."""
    return tf.Variable(True, trainable=False, name="ckptkit_writes_summaries")
