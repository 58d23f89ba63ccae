"""Verifies a TensorFlow checkpoint by its own checksums.

The format has a CRC-32C for each block of the index (tensorflow/core/lib/io/format.cc). TensorFlow
compares it when it reads the block, and opening a checkpoint reads the whole index. Each tensor has
a CRC-32C of its bytes (`BundleEntryProto.crc32c` in tensorflow/core/protobuf/tensor_bundle.proto),
compared when the tensor is read. So opening the checkpoint and reading every tensor finds all
damage, except in bytes outside any tensor, such as padding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.bundle.bundle_check import check_bundle
from ckptkit.bundle.tensor_bundle import (
    SUFFIX,
    first_line,
    judging_tensorflow,
    open_reader,
    restore,
)
from ckptkit.errors import CorruptCheckpointError
from ckptkit.storage.proof_of_damage import judging

_SHARD = re.compile(r"\.data-(\d{5})-of-(\d{5})$")


@dataclass(frozen=True)
class Sums:
    """The result of verifying a checkpoint.

    Args:
        size_bytes: total size of its files.
        read_bytes: size of the index and of all tensors that were read and match.
        tensors: number of tensors; 0 if the index is damaged.
        damaged: names of unreadable tensors, each with the reason.
    """

    size_bytes: int
    read_bytes: int
    tensors: int
    damaged: dict[str, str]


def check_sums(
    prefix: Path, *, quick: bool = False, progress: Callable[[int], None] = lambda _: None
) -> Sums:
    """Read every tensor of a checkpoint, one at a time to limit memory.

    Args:
        prefix: the checkpoint's prefix.
        quick: read only the index, and check that all files exist.
        progress: called with the number of tensor bytes read since the last call.

    Raises:
        CorruptCheckpointError: If the index cannot be read, or a file is missing.
        StorageError: If the system refuses to read.
    """
    index, shards = prefix.with_name(prefix.name + ".index"), _shards(prefix)
    files = [index, *shards]
    for path in files:
        with judging(path, path.name):
            path.open("rb").close()
    reader = open_reader(prefix)
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    if shapes and not shards:
        raise CorruptCheckpointError(
            f"{prefix}.data-* is missing: there is no data file.",
            "missing",
            f"{prefix.name}.data-00000-of-00001",
        )
    read, damaged = index.stat().st_size, {}
    for name in () if quick else sorted(shapes):
        size_bytes = _size(shapes[name], types[name])
        try:
            with judging_tensorflow(prefix):
                check_bundle(prefix, [name])
                restore(prefix, [name], [types[name]])
            read += size_bytes
        except CorruptCheckpointError as error:
            cause = error.__cause__
            damaged[name.removesuffix(SUFFIX)] = (
                first_line(cause) if isinstance(cause, Exception) else str(error)
            )
        progress(size_bytes)
    return Sums(sum(path.stat().st_size for path in files), read, len(shapes), damaged)


def _shards(prefix: Path) -> list[Path]:
    """Return the data files, after checking by their names that none is missing."""
    there = {
        path.name: path
        for path in prefix.parent.iterdir()
        if path.name.startswith(prefix.name)
        and _SHARD.fullmatch(path.name.removeprefix(prefix.name))
    }
    totals = {int(match[2]) for name in there if (match := _SHARD.search(name))}
    for total in totals:
        for number in range(total):
            name = f"{prefix.name}.data-{number:05d}-of-{total:05d}"
            if name not in there and len(totals) == 1:
                raise CorruptCheckpointError(
                    f"{prefix.with_name(name)} is missing: only {len(there)} of {total} data files "
                    "exist.",
                    "missing",
                    name,
                )
    return sorted(there.values())


def _size(shape: list[int], dtype: Any) -> int:
    return int(tf.TensorShape(shape).num_elements() or 0) * (
        dtype.size if dtype not in (tf.string, tf.variant, tf.resource) else 0
    )
