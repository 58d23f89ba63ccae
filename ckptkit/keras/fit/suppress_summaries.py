"""A step that is thrown away leaves no points in event files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import tensorflow as tf

from ckptkit.compat.tf_summary import summaries_ask


@contextmanager
def unseen() -> Iterator[None]:
    """In its block, summaries of a train step are traced as ever, and not written.

    What is traced there goes on to be used. So whether it writes is asked of a variable, each time.
    """
    writes = _writes()
    writes.assign(False)
    try:
        with summaries_ask(writes.read_value):
            yield
    finally:
        writes.assign(True)


@cache
def _writes() -> tf.Variable:
    """Functions that were traced look at it for as long as they live."""
    return tf.Variable(True, trainable=False, name="ckptkit_writes_summaries")
