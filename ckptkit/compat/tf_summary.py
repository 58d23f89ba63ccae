"""Private names of `tf.summary`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident

import tensorflow as tf
from tensorflow.python.ops import summary_ops_v2


@contextmanager
def write_summaries_if(condition: Callable[[], tf.Tensor]) -> Iterator[None]:
    """In its block, and in functions that this thread traces there, summaries are written only
    where this holds too.

    Reason: `tf.summary.record_if` takes the place of a condition around it, and so gives way to one
    within; and to say what held before, `tf.summary.should_record_summaries` has to know the
    writer, which a step may open for itself.
    """
    asked, thread = summary_ops_v2._should_record_summaries_internal, get_ident()

    def ask(default_state: bool) -> tf.Tensor:
        writes = asked(default_state)
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
