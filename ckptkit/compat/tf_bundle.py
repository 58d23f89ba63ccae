"""Reads the messages in the index of TensorFlow's checkpoint files (`tensor_bundle.proto`).

Tried with TensorFlow 2.20 and 2.21.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import tensor_bundle_pb2

FULL = -1
"""The length of a part that spans the whole dimension."""


@dataclass(frozen=True)
class BundleEntry:
    """What the index says about one tensor.

    Args:
        dtype: the number of its type.
        shape: its sizes; None if not even their number is known.
        shard: the number of its data file.
        offset: where it begins in the data file.
        size_bytes: its size in the data file.
        parts: for a tensor that is stored in parts, the start and length of each part in each
            dimension.
    """

    dtype: int
    shape: tuple[int, ...] | None
    shard: int
    offset: int
    size_bytes: int
    parts: tuple[tuple[tuple[int, int], ...], ...]


def bundle_shards(serialized: bytes) -> int:
    """Return the number of data files that the header names.

    Reason: no public name reads the header. TensorFlow uses its numbers unchecked.

    Raises:
        ValueError: If it is not such a message.
    """
    try:
        return int(tensor_bundle_pb2.BundleHeaderProto.FromString(serialized).num_shards)
    except DecodeError as error:
        raise ValueError("its header is not a message of TensorFlow") from error


def bundle_entry(serialized: bytes) -> BundleEntry:
    """Return what the index says about one tensor.

    Reason: no public name gives a tensor's place in the files. TensorFlow ends the process if the
    numbers are wrong.

    Raises:
        ValueError: If it is not such a message.
    """
    try:
        entry = tensor_bundle_pb2.BundleEntryProto.FromString(serialized)
    except DecodeError as error:
        raise ValueError("it is not a message of TensorFlow") from error
    return BundleEntry(
        entry.dtype,
        None if entry.shape.unknown_rank else tuple(each.size for each in entry.shape.dim),
        entry.shard_id,
        entry.offset,
        entry.size,
        tuple(
            tuple(
                (each.start, each.length if each.HasField("length") else FULL)
                for each in part.extent
            )
            for part in entry.slices
        ),
    )
