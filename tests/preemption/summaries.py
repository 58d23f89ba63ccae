"""What TensorBoard's files hold."""

from __future__ import annotations

import tensorflow as tf


def steps(file: str, tag: str) -> list[int]:
    """The steps for which a file has a value of this name."""
    found = []
    for record in tf.compat.v1.train.summary_iterator(file):
        found += [int(record.step) for value in record.summary.value if value.tag == tag]
    return found
