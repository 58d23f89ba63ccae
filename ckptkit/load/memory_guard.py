"""No memory is taken for what a file only claims: while a model is built from it, its variables may
not be larger than what was saved of them.
"""

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
"""A variable up to this size need not have its like among the saved ones: counters, seeds, matrices
of metrics.
"""

COPIES = 8
"""A model takes no more than so many copies of what was saved: an optimizer that was not saved
makes up to three or four.
"""


@contextmanager
def bounded(path: Path, saved_bytes: Iterable[int]) -> Iterator[None]:
    """Inside the block no Keras variable is made that the saved ones do not explain.

    Args:
        path: where the model comes from, for the message.
        saved_bytes: of each saved variable.

    Raises:
        CorruptCheckpointError: where one is about to be made.
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
                    f"The model described in {path} has a variable of shape {shape}, which is "
                    f"{size(wanted)}, {size(made)} with those before it; the "
                    f"largest that was saved has {size(max(sizes, default=0))}, all of them "
                    f"{size(sum(sizes))}. Such a model is not built.",
                    "size",
                )
        return next_creator(**arguments)

    with tf.variable_creator_scope(make):
        yield
