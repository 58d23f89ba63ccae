"""Where data stands: an iterator's state where TensorFlow can save it, and otherwise how much was drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from ckptkit import _private
from ckptkit.log import logger
from ckptkit.save.leaves import Tensors

_CANNOT = (tf.errors.OpError, NotImplementedError, ValueError, TypeError, AttributeError)
_PROGRESS_SECS = 5.0


def why_not_saved(iterator: Any) -> str | None:
    """Why an iterator's state cannot be saved, or None where it can."""
    if not isinstance(iterator, tf.data.Iterator):
        return f"{type(iterator).__name__} is no iterator of tf.data"
    try:
        _private.serialize(iterator)
    except _CANNOT as error:
        text = error.message if isinstance(error, tf.errors.OpError) else str(error)
        return (text or type(error).__name__).strip().splitlines()[0][:200]
    return None


class IteratorLeaf:
    """The state of the iterator that training draws from now. It is left out where it cannot be saved.

    Args:
        key: its key.
        path: how to name it.
        iterator: of tf.data.
    """

    kind = "trackable"
    trainable = None

    def __init__(self, key: str, path: str, iterator: Any) -> None:
        self.key = key
        self.path = path
        self._iterator = iterator

    def capture(self) -> Tensors:
        return _private.serialize(self._iterator)

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        _private.deserialize(self._iterator, tensors)


def draw(iterator: Iterator[Any], batches: int) -> int:
    """Draws batches and forgets them.

    Returns:
        How many there were; fewer than `batches` where the data ended.
    """
    for done in range(batches):
        try:
            next(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):
            return done
    return batches


class Progress:
    """Says now and then how far drawing again has come, where it takes long.

    Args:
        total: batches to draw.
        clock: monotonic seconds.
    """

    def __init__(self, total: int, clock: Any) -> None:
        self._total = total
        self._clock = clock
        self._done = 0
        self._said = clock()

    def add(self, batches: int) -> None:
        """Some more were drawn."""
        self._done += batches
        if self._clock() - self._said >= _PROGRESS_SECS:
            self._said = self._clock()
            logger.info("drawing data again up to where the run was: %d of %d batches", self._done, self._total)
