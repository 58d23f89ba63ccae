"""Counts the tensors that TensorFlow has made.

Tried with TensorFlow 2.20 and 2.21.
"""

from __future__ import annotations


def tensor_count() -> int:
    """Return a number that grows by one with each eager tensor, and with each call.

    Reason: reading a batch, computing and assigning make tensors. So two calls that follow one
    another show that nothing of that was done between them. No public name tells this,
    and comparing the state itself would cost a copy of it in each turn.
    """
    from tensorflow.python.framework import ops

    return int(ops.uid())
