"""Checks the numbers in a TensorFlow checkpoint before TensorFlow uses them.

TensorFlow checks its own use of these numbers, not the file: a negative size or a length beyond the
file ends the process. Damage by chance fails a checksum first, but an attacker who makes a file on
purpose computes the checksums too. So what TensorFlow takes for granted is checked here. Only what
TensorFlow cannot read either is refused.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import tensorflow as tf

from ckptkit.bundle.bundle_index import Read, read_table, varint
from ckptkit.bundle.partitioned_keys import part_key
from ckptkit.compat.tf_bundle import FULL, BundleEntry, bundle_entry, bundle_shards

_HEADER = b""
_MAX_RANK = 254
_MAX_ELEMENTS = 2**63 - 1
_MAX_VARINT_BYTES = 10
_CHECKSUM_BYTES = 4
_UNSTORED = frozenset({tf.resource.as_datatype_enum})
_FROM_REFERENCE = 100
"""Types from this number on are references to variables, which are never stored."""


@dataclass(frozen=True)
class Bundle:
    """The index of a checkpoint, whose numbers were checked.

    Args:
        prefix: the checkpoint's prefix.
        shards: the number of its data files.
        entries: the tensors, and their parts, by key.
    """

    prefix: Path
    shards: int
    entries: Mapping[bytes, BundleEntry]

    def check(self, keys: Iterable[str] | None = None) -> None:
        """Check that tensors are where the index says, before TensorFlow reads their values.

        Args:
            keys: the keys of the tensors; by default all. Unknown keys are left to TensorFlow.

        Raises:
            ValueError: If a tensor is not.
            OSError: If a data file cannot be read.
        """
        chosen = self.entries if keys is None else [key.encode(errors="replace") for key in keys]
        shards: dict[int, list[tuple[bytes, BundleEntry]]] = {}
        for key in chosen:
            for each in self._stored(key):
                shards.setdefault(each[1].shard, []).append(each)
        for shard, stored in shards.items():
            name = f"{self.prefix.name}.data-{shard:05d}-of-{self.shards:05d}"
            try:
                with _reading(self.prefix.with_name(name)) as (read, file_bytes):
                    for key, entry in stored:
                        _check_place(_shown(key), entry, read, file_bytes)
            except FileNotFoundError:
                continue  # TensorFlow reports it

    def _stored(self, key: bytes) -> Iterator[tuple[bytes, BundleEntry]]:
        entry = self.entries.get(key)
        if entry is None:
            return
        if not _is_in_parts(entry):
            yield key, entry
            return
        covered = 0
        for part in entry.parts:
            key_of_part = part_key(key, part)
            covered += math.prod(self.entries[key_of_part].shape or ())
            yield key_of_part, self.entries[key_of_part]
        if covered < math.prod(entry.shape or ()):
            raise ValueError(f"the parts of {_shown(key)} are incomplete")


def check_bundle(prefix: Path, keys: Iterable[str] | None = ()) -> None:
    """Check the index of a checkpoint, and the places of tensors in the data files.

    Args:
        prefix: the checkpoint's prefix.
        keys: the tensors; None for all.

    Raises:
        ValueError: If a number in it is impossible.
        OSError: If a file cannot be read. A missing file is left to TensorFlow.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    try:
        found = index.stat()
    except FileNotFoundError:
        return
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    _opened(prefix, index, state).check(keys)


@lru_cache(maxsize=2)
def _opened(prefix: Path, index: Path, state: tuple[int, ...]) -> Bundle:
    """Return the index, which is not read again for every tensor while the file is the same."""
    with _reading(index) as (read, file_bytes):
        table = dict(read_table(read, file_bytes))
    header = table.pop(_HEADER, None)
    if header is None:
        raise ValueError("the index has no header")
    shards = bundle_shards(header)
    entries = {}
    for key, serialized in table.items():
        try:
            entries[key] = bundle_entry(serialized)
            _check_numbers(entries[key], shards)
        except ValueError as error:
            raise ValueError(f"the entry of {_shown(key)} is impossible: {error}") from error
    for key, entry in entries.items():
        _check_parts(key, entry, entries)
    return Bundle(prefix, shards, entries)


def _is_in_parts(entry: BundleEntry) -> bool:
    """Return whether a tensor is in parts; TensorFlow takes one part with all of it for whole."""
    return len(entry.parts) > 1 or not all(
        length == FULL for part in entry.parts for _, length in part
    )


def _check_numbers(entry: BundleEntry, shards: int) -> None:
    if entry.dtype in _UNSTORED or entry.dtype >= _FROM_REFERENCE:
        raise ValueError(f"its type {entry.dtype} is never stored")
    try:
        dtype = tf.as_dtype(entry.dtype)
    except TypeError:
        raise ValueError(f"TensorFlow {tf.__version__} has no type {entry.dtype}") from None
    if entry.shape is None:
        raise ValueError("its shape is unknown")
    if len(entry.shape) > _MAX_RANK:
        raise ValueError(f"it has {len(entry.shape)} dimensions")
    elements = 1
    for size in entry.shape:
        elements *= size
        if not 0 <= size <= _MAX_ELEMENTS or elements > _MAX_ELEMENTS:
            raise ValueError(f"its shape is {shown_shape(entry.shape)}")
    if not 0 <= entry.shard < shards:
        raise ValueError(f"it is in data file {entry.shard} of {shards}")
    if entry.offset < 0 or entry.size_bytes < 0:
        raise ValueError(f"it has {entry.size_bytes} bytes at {entry.offset}")
    if _is_in_parts(entry):
        return
    if dtype not in (tf.string, tf.variant) and entry.size_bytes != elements * dtype.size:
        raise ValueError(
            f"{dtype.name} of shape {shown_shape(entry.shape)} takes {elements * dtype.size} "
            f"bytes, not {entry.size_bytes}"
        )


def _check_parts(key: bytes, entry: BundleEntry, entries: Mapping[bytes, BundleEntry]) -> None:
    """Check that each part is inside the tensor, and stored with the same type and its shape."""
    shape = entry.shape or ()
    if len(set(entry.parts)) != len(entry.parts):
        raise ValueError(f"{_shown(key)} has the same part twice")
    for part in entry.parts:
        if len(part) != len(shape):
            raise ValueError(f"a part of {_shown(key)} has {len(part)} dimensions")
        for (start, length), size in zip(part, shape, strict=True):
            if not (0 <= start <= size and FULL <= length <= size - start) or (
                length == FULL and start
            ):
                raise ValueError(f"a part of {_shown(key)} is outside of it")
        if not _is_in_parts(entry):
            continue
        stored = entries.get(part_key(key, part))
        wanted = tuple(
            size if length == FULL else length
            for (_, length), size in zip(part, shape, strict=True)
        )
        if stored is None:
            raise ValueError(f"a part of {_shown(key)} is missing in the index")
        if (stored.shape, stored.dtype, stored.parts) != (wanted, entry.dtype, ()):
            raise ValueError(f"a part of {_shown(key)} has another shape or type")


def _check_place(name: str, entry: BundleEntry, read: Read, file_bytes: int) -> None:
    end = entry.offset + entry.size_bytes
    if end > file_bytes:
        raise ValueError(
            f"{name} ends at byte {end} of its data file, which has {file_bytes} bytes"
        )
    count = math.prod(entry.shape or ())
    if entry.dtype == tf.string.as_datatype_enum:
        total = _strings_bytes(count, read(entry.offset, min(entry.size_bytes, 10 * count)))
    elif entry.dtype == tf.variant.as_datatype_enum:
        total = _variants_bytes(count, entry, read)
    else:
        return
    if total > entry.size_bytes:
        raise ValueError(f"{name} takes {total} bytes, not {entry.size_bytes}")


def _strings_bytes(count: int, lengths: bytes) -> int:
    """Return the bytes of strings: all lengths, a checksum, then all texts."""
    total = at = 0
    for _ in range(count):
        length, at = varint(lengths, at)
        total += length
    return at + _CHECKSUM_BYTES + total


def _variants_bytes(count: int, entry: BundleEntry, read: Read) -> int:
    """Return the bytes of variants: the length, the content and a checksum of each."""
    total = 0
    for _ in range(count):
        left = min(_MAX_VARINT_BYTES, max(entry.size_bytes - total, 0))
        length, width = varint(read(entry.offset + total, left), 0)
        total += width + length + _CHECKSUM_BYTES
    return total


@contextmanager
def _reading(path: Path) -> Iterator[tuple[Read, int]]:
    """Yield a function that reads a regular file, and the file's size."""
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        yield lambda offset, size: os.pread(descriptor, size, offset), found.st_size
    finally:
        os.close(descriptor)


def _shown(key: bytes) -> str:
    return ascii(key.decode(errors="backslashreplace"))[:200]


def shown_shape(shape: tuple[int, ...]) -> str:
    """Return a shape for a message, which does not get longer than a line."""
    return str(list(shape[:8]))[:-1] + (", ...]" if len(shape) > 8 else "]")
