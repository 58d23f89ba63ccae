"""Whether a checkpoint that TensorFlow wrote is what was written, by its own checksums.

The format has a CRC-32C of each block of the index (tensorflow/core/lib/io/format.cc), which
TensorFlow compares when it reads one, and of each tensor's bytes (`BundleEntryProto.crc32c` in
tensorflow/core/protobuf/tensor_bundle.proto), which it compares when it reads that. To open a
checkpoint reads the whole index. So all of it is found by opening it and reading every tensor; what
no tensor takes up, such as padding, has no checksum.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.errors import CorruptCheckpointError
from ckptkit.load.checkpoint_weights import reader_of
from ckptkit.run.verify import judging
from ckptkit.writing.tensor_file import READ_ERRORS, SUFFIX, first_line

_SHARD = re.compile(r"\.data-(\d{5})-of-(\d{5})$")


@dataclass(frozen=True)
class Sums:
    """What came of a checkpoint.

    Args:
        size_bytes: of its files.
        read_bytes: of the tensors that were read and agree, and of the index.
        tensors: how many it has; 0 where its index is damaged.
        damaged: the names of those that cannot be read, each with the reason.
    """

    size_bytes: int
    read_bytes: int
    tensors: int
    damaged: dict[str, str]


def check_sums(
    prefix: Path, *, quick: bool = False, progress: Callable[[int], None] = lambda _: None
) -> Sums:
    """Reads every tensor of a checkpoint, one after the other, in the memory of the largest one.

    Args:
        prefix: of the checkpoint.
        quick: read the index only, and look whether all files are there.
        progress: is told how many bytes of tensors were read, as it goes on.

    Raises:
        CorruptCheckpointError: where the index cannot be read, or a file is missing.
        StorageError: where the system refuses to read.
    """
    index, shards = prefix.with_name(prefix.name + ".index"), _shards(prefix)
    files = [index, *shards]
    for path in files:
        with judging(path, path.name):
            path.open("rb").close()
    reader = reader_of(prefix)
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    if shapes and not shards:
        raise CorruptCheckpointError(
            f"{prefix}.data-* is missing: no data file is there.",
            "missing",
            f"{prefix.name}.data-00000-of-00001",
        )
    read, damaged = index.stat().st_size, {}
    for name in () if quick else sorted(shapes):
        size_bytes = _size(shapes[name], types[name])
        try:
            _read(prefix, name, types[name])
            read += size_bytes
        except CorruptCheckpointError as error:
            damaged[name.removesuffix(SUFFIX)] = str(error)
        progress(size_bytes)
    return Sums(sum(path.stat().st_size for path in files), read, len(shapes), damaged)


def _shards(prefix: Path) -> list[Path]:
    """The files with the values; that one is missing is told by the names of the others."""
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
                    f"{prefix.with_name(name)} is missing: {len(there)} of {total} data files are "
                    "there.",
                    "missing",
                    name,
                )
    return sorted(there.values())


def _read(prefix: Path, name: str, dtype: Any) -> None:
    try:
        with tf.device("CPU"):
            tf.raw_ops.RestoreV2(
                prefix=str(prefix), tensor_names=[name], shape_and_slices=[""], dtypes=[dtype]
            )
    except (*READ_ERRORS, TypeError) as error:
        raise CorruptCheckpointError(first_line(error), "digest") from error


def _size(shape: list[int], dtype: Any) -> int:
    return int(tf.TensorShape(shape).num_elements() or 0) * (
        dtype.size if dtype not in (tf.string, tf.variant, tf.resource) else 0
    )
