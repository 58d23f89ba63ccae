"""Wraps private names of `tf.summary`.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident

import tensorflow as tf
from tensorflow.python.ops import summary_ops_v2


@contextmanager
def write_summaries_if(condition: Callable[[], tf.Tensor]) -> Iterator[None]:
    """Add a condition to all summaries in its block, also in functions that are traced there.

    Other threads are not affected.

    Reason: `tf.summary.record_if` replaces an outer condition, and an inner one replaces it. To
    read the previous condition, `tf.summary.should_record_summaries` needs the writer, which a step
    may open itself.

    Args:
        condition: returns a boolean tensor; summaries are written only if it is true.
    """
    asked, thread = summary_ops_v2._should_record_summaries_internal, get_ident()

    def ask(default_state: bool) -> tf.Tensor:
        writes = asked(default_state)
        # If it is statically false, the condition is not called, because a traced function would
        # keep it.
        known = tf.get_static_value(writes)
        return (
            tf.logical_and(writes, condition())
            if get_ident() == thread and (known is None or known)
            else writes
        )

    summary_ops_v2._should_record_summaries_internal = ask
    try:
        yield
    finally:
        summary_ops_v2._should_record_summaries_internal = asked
