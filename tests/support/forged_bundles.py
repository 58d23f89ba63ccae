"""Forged TensorFlow bundles: an index whose checksums are right and whose entries are not.

Bytes that are damaged by chance fail their checksum. Somebody who writes a file on purpose computes
the checksum too, so what TensorFlow does with wrong numbers can only be seen with such files. The
format is LevelDB's table (tensorflow/core/lib/io/format.cc) with the messages of
tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from pathlib import Path

_POLYNOMIAL = 0x82F63B78
_MAGIC = 0xDB4775248B80FB57
_MASK_DELTA = 0xA282EAD8


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def shape(dimensions: list[int], *, unknown_rank: bool = False) -> bytes:
    dims = b"".join(field(2, field(1, size)) for size in dimensions)
    return dims + (field(3, 1) if unknown_rank else b"")


def entry(
    dtype: int, dimensions: list[int], offset: int, size: int, crc: int, **more: bytes | int
) -> bytes:
    """A `BundleEntryProto`."""
    fields = field(1, dtype) + field(2, shape(dimensions)) + field(3, int(more.get("shard", 0)))
    fields += field(4, offset) + field(5, size) + b"\x35" + struct.pack("<I", crc)
    slices = more.get("slices", b"")
    return fields + (slices if isinstance(slices, bytes) else b"")


def header(shards: int = 1, endianness: int = 0) -> bytes:
    """A `BundleHeaderProto`."""
    return field(1, shards) + field(2, endianness) + field(3, field(1, 1))


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(
        b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in entries
    )
    return body + struct.pack("<II", 0, 1)


def index(values: Mapping[bytes, bytes]) -> bytes:
    """An index file with these values, and checksums that are right."""
    file = bytearray()

    def add(block: bytes) -> bytes:
        handle = varint(len(file)) + varint(len(block))
        trailer = b"\0"
        file.extend(block + trailer + struct.pack("<I", masked_crc(block + trailer)))
        return handle

    data = add(_block(sorted(values.items())))
    meta = add(_block([]))
    top = add(_block([(b"\x7f", data)]))
    footer = meta + top
    return bytes(file) + footer.ljust(40, b"\0") + struct.pack("<Q", _MAGIC)


def write_bundle(prefix: Path, values: Mapping[bytes, bytes], data: bytes = b"\0" * 64) -> Path:
    """Write the files of a bundle; return the prefix."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(prefix.name + ".index").write_bytes(index(values))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)
    return prefix


HUGE = (2**63 - 1, 2**62, 2**40, 2**31, 2**31 - 1, -1, -(2**63))


def forge(prefix: Path, chosen: random.Random) -> Path:
    """Write a bundle with random wrong numbers in it."""

    def number(usual: int) -> int:
        return chosen.choice([usual, *HUGE]) if chosen.random() < 0.4 else usual

    data = chosen.randbytes(64)
    values = {b"": header(number(1), chosen.choice([0, 0, 0, 1, 7]))}
    for name in range(chosen.randint(1, 3)):
        dtype = chosen.choice([1, 1, 1, 7, 7, 9, 20, 21, *range(24), 10_000])
        dimensions = [number(4) for _ in range(chosen.choice([0, 1, 1, 2, 3, 300]))]
        slices = b""
        if chosen.random() < 0.2:
            extent = field(1, field(1, number(0)) + field(2, number(4)))
            slices = field(7, extent * chosen.randint(1, 3))
        values[b"key%d" % name] = entry(
            dtype,
            dimensions,
            number(0),
            number(16),
            masked_crc(data[:16]),
            shard=number(0),
            slices=slices,
        )
    return write_bundle(prefix, values, data)
