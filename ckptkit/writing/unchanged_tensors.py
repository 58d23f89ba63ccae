"""Remembers the content of saved tensors by digest, and finds those that have not changed since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import xxhash

LEAST_BYTES = 1024
"""The size in bytes below which a tensor always counts as changed.

Such tensors are a small part of a checkpoint, and there may be thousands of them.
"""

MOST_PATIENCE = 16
"""The largest number of saves at which a tensor has to be the same before it counts as settled."""

_SAMPLES = 4
_SAMPLE_BYTES = 256
"""A sample is four parts of so many bytes, spread over the tensor."""


@dataclass(frozen=True, slots=True)
class TensorContent:
    """The content of one tensor in the newest checkpoint.

    Args:
        form: the type and the shape.
        sample: a digest of a few short parts of the content.
        digest: a digest of the whole content; None if it was not computed.
        calm: the number of saves in a row at which the content was the same as before.
        patience: the number of calm saves after which the tensor counts as settled.
        pause: the number of saves for which no digest is computed, even if the sample is the same.
    """

    form: tuple[str, tuple[int, ...]]
    sample: int
    digest: bytes | None
    calm: int = 0
    patience: int = 1
    pause: int = 0

    @property
    def is_settled(self) -> bool:
        return self.calm >= self.patience


@dataclass(frozen=True)
class ContentComparison:
    """The comparison of a snapshot with the newest checkpoint.

    Args:
        contents: the contents of the snapshot's tensors, by key.
        unchanged: the keys of tensors whose content is the same.
        settled: the keys of unchanged tensors that will probably stay the same.
    """

    contents: dict[str, TensorContent]
    unchanged: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()


class ContentRecord:
    """The contents of the tensors in the newest checkpoint that this process has written."""

    def __init__(self) -> None:
        self._known: dict[str, TensorContent] = {}

    def compare(self, tensors: Mapping[str, tf.Tensor]) -> ContentComparison:
        """Compare the tensors of a snapshot with the newest checkpoint, by their bytes.

        Args:
            tensors: the tensors by key, in the host's memory.
        """
        contents, unchanged, settled = {}, set(), set()
        for key, tensor in tensors.items():
            # The memory of a variant or a string is not its content.
            if tensor.dtype in (tf.variant, tf.resource, tf.string):
                continue
            try:
                data = _bytes_of(tensor)
            # A type that NumPy does not know must not prevent a save.
            except Exception:
                continue
            if data.nbytes < LEAST_BYTES:
                continue
            now = contents[key] = _content(tensor, data, self._known.get(key))
            if now.calm:
                unchanged.add(key)
                if now.is_settled:
                    settled.add(key)
        return ContentComparison(contents, frozenset(unchanged), frozenset(settled))

    def looks_same(self, key: str, tensor: tf.Tensor) -> bool:
        """Return whether a tensor has probably not changed, by a few parts of its content.

        Args:
            key: its key.
            tensor: the tensor, in the host's memory.
        """
        known = self._known.get(key)
        return known is not None and known.sample == _sample(_bytes_of(tensor))

    def remember(self, comparison: ContentComparison) -> None:
        """Remember the contents of a snapshot, because it is the newest checkpoint now.

        Args:
            comparison: the comparison of that snapshot.
        """
        self._known = comparison.contents


def _content(tensor: tf.Tensor, data: Any, known: TensorContent | None) -> TensorContent:
    form = (tensor.dtype.name, tuple(tensor.shape.as_list()))
    sample = _sample(data)
    if known is None:
        return TensorContent(form, sample, _digest(data))
    # What changes now and then would spoil the file of settled tensors each time. So what has
    # changed has to be calm for longer before it joins them: twice as long after each change.
    longer = min(2 * known.patience, MOST_PATIENCE)
    if known.form != form or known.sample != sample:
        # Trained weights end here. To digest them all at each save would be work for nothing.
        return TensorContent(form, sample, None, patience=longer)
    if known.pause:
        return TensorContent(form, sample, None, 0, known.patience, known.pause - 1)
    digest = _digest(data)
    if known.digest is None:  # it may have changed
        return TensorContent(form, sample, digest, 0, known.patience)
    if known.digest == digest:
        return TensorContent(form, sample, digest, known.calm + 1, known.patience)
    # The sample has missed the change, as it does if a few rows of an embedding change at a time.
    # A large table is then not digested at each save.
    return TensorContent(form, sample, None, 0, longer, pause=longer)


def _bytes_of(tensor: tf.Tensor) -> Any:
    # `asarray` shares the tensor's memory; `numpy()` would copy it.
    return np.asarray(tensor).reshape(-1).view(np.uint8)


def _sample(data: Any) -> int:
    distance = max((data.nbytes - _SAMPLE_BYTES) // (_SAMPLES - 1), 1)
    digest = xxhash.xxh3_64()
    for start in range(0, _SAMPLES * distance, distance):
        digest.update(data[start : start + _SAMPLE_BYTES])
    return digest.intdigest()


def _digest(data: Any) -> bytes:
    return xxhash.xxh3_128(data).digest()
