"""Limits the memory that building a model from an untrusted file may take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.compat import keras_saving
from ckptkit.errors import CorruptCheckpointError
from ckptkit.log import size

SMALL_BYTES = 64 * 1024 * 1024
"""Variables up to this size are always allowed: counters, seeds, matrices of metrics."""

COPIES = 8
"""The memory that a model may take, as a multiple of the saved bytes.

An optimizer that was not saved adds up to three or four copies.
"""


@contextmanager
def bounded(path: Path, saved_bytes: Iterable[int]) -> Iterator[None]:
    """Refuse Keras variables in the block that are too large for the saved variables.

    Args:
        path: the source of the model, for messages.
        saved_bytes: size of each saved variable.

    Raises:
        CorruptCheckpointError: If a variable would be larger than the limit.
    """
    sizes = list(saved_bytes)
    largest, most = max([SMALL_BYTES, *sizes]), COPIES * max(sum(sizes), 4 * SMALL_BYTES)
    made = 0

    def make(next_creator: Any, **arguments: Any) -> Any:
        nonlocal made
        form = keras_saving.pending_shape(arguments.get("initial_value"))
        if form is not None:
            shape, dtype = form
            wanted = math.prod(shape) * tf.as_dtype(dtype).size
            made += wanted
            if wanted > largest or made > most:
                raise CorruptCheckpointError(
                    f"The model described in {path} has a variable of shape {shape}, which takes "
                    f"{size(wanted)}, and {size(made)} with the variables before it. The largest "
                    f"saved variable takes {size(max(sizes, default=0))}, all of them "
                    f"{size(sum(sizes))}. Such a model is not built.",
                    "size",
                )
        return next_creator(**arguments)

    with tf.variable_creator_scope(make):
        yield
