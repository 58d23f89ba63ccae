"""The description of a tensor in a manifest, and the parts of its key."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

REPLICA = "replica"
"""The word in a key before the number of a replica."""


def leaf_key(key: str) -> str:
    """Return the key of a tensor's leaf: the first three parts of the tensor's key."""
    return "/".join(key.split("/")[:3])


def replica_part(number: int) -> str:
    """Return the last part of the key of a replica's value; empty for the first replica."""
    return f"{REPLICA}/{number}" if number else ""


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One tensor of a checkpoint.

    Args:
        key: `<state name>/<role>/<index>`, with a further part if one object has several tensors.
        kind: `variable`, `trackable` (a table, an iterator) or `python` (JSON, or an array of it).
        path: its name in Keras or TensorFlow, for messages.
        shape: the sizes, with None for a size that is not fixed.
        dtype: TensorFlow's name of the type.
        trainable: whether training changes it; None if that has no meaning.
        place: of a model's weight, its place among the model's attributes, as in `.weights.h5`
            files; empty if it has none, and in older checkpoints.
        replicas: the number of replicas of the variable, if `tf.distribute` keeps one for each
            device; else left out.
        aggregation: how these make the value that TensorFlow reads: `sum`, `mean`, `first`, or
            `none` if it reads one of them; left out with `replicas`.
    """

    key: str
    kind: str
    path: str
    shape: tuple[int | None, ...] | None
    dtype: str
    trainable: bool | None = None
    place: str = ""
    replicas: int | msgspec.UnsetType = msgspec.UNSET
    aggregation: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def role(self) -> str:
        """The second part of the key: `weights`, `optimizer`, `metrics`, ..."""
        return self.key.split("/")[1]

    @property
    def replica(self) -> int:
        """The number of the replica that has this value, from 0."""
        *_, word, number = self.key.split("/")
        if word != REPLICA or self.kind != "variable":
            return 0
        return int(number) if number.isascii() and number.isdecimal() else 0

    @property
    def size_bytes(self) -> int:
        """The size of its values in bytes; 0 if its shape or type is not fixed."""
        width = _WIDTHS.get(self.dtype, 0)
        if self.shape is None or None in self.shape:
            return 0
        return width * math.prod(size or 0 for size in self.shape)


_WIDTHS = {
    "float32": 4,
    "float64": 8,
    "float16": 2,
    "bfloat16": 2,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int4": 1,
    "uint4": 1,
}
