"""Forged TensorFlow bundles: an index whose checksums are right and whose entries are not.

Bytes that are damaged by chance fail their checksum. Somebody who writes a file on purpose computes
the checksum too, so what TensorFlow does with wrong numbers can only be seen with such files. The
format is LevelDB's table (tensorflow/core/lib/io/format.cc) with the messages of
tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import tensor_bundle_pb2

from ckptkit.bundle.bundle_index import read_table
from ckptkit.run.manifest import seal
from ckptkit.run.verify import file_entry

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


def reseal(checkpoint: Path) -> None:
    """Let the manifest of a checkpoint agree with its files again."""
    path = checkpoint / "manifest.json"
    content = json.loads(path.read_bytes())
    del content["digest"]
    content["files"] = [
        {"name": each.name, "size_bytes": each.size_bytes, "digest": each.digest}
        for each in map(file_entry, sorted(checkpoint.glob("ckpt-*")))
    ]
    path.write_bytes(seal(json.dumps(content).encode()))


def put_a_part_outside(prefix: Path) -> None:
    """Say of every tensor in a good bundle that a part far outside of it is stored.

    TensorFlow ends its process over that.
    """
    path = prefix.with_name(f"{prefix.name}.index")
    file = path.read_bytes()
    values = dict(read_table(lambda offset, size: file[offset : offset + size], len(file)))
    for key in filter(None, values):
        about = tensor_bundle_pb2.BundleEntryProto.FromString(values[key])
        part = about.slices.add()
        for _ in about.shape.dim:
            part.extent.add(start=2**62, length=2**62)
        values[key] = about.SerializeToString()
    path.write_bytes(index(values))


def tamper(prefix: Path, chosen: random.Random) -> str:
    """Change a good bundle as somebody would on purpose: all checksums are right again.

    Returns:
        What was changed.
    """
    path = prefix.with_name(f"{prefix.name}.index")
    file = path.read_bytes()
    values = dict(read_table(lambda offset, size: file[offset : offset + size], len(file)))
    kind = chosen.choice(["entry", "entry", "claim", "texts", "message", "table", "parts"])
    if kind == "table":
        path.write_bytes(_tampered_table(values, chosen))
        return kind
    key = chosen.choice([key for key in values if key])
    about = tensor_bundle_pb2.BundleEntryProto.FromString(values[key])
    if kind == "entry":
        field = chosen.choice(["dtype", "shard_id", "offset", "size", "shape"])
        if field == "shape":
            dims = [chosen.choice([0, 1, 4, *HUGE]) for _ in range(chosen.choice([0, 1, 2, 300]))]
            del about.shape.dim[:]
            for size in dims:
                about.shape.dim.add(size=size)
            about.shape.unknown_rank = chosen.random() < 0.1
        elif field == "dtype":
            about.dtype = chosen.choice([*range(40), 101, 107, 10_000])
        else:
            number = chosen.choice([1, *HUGE])
            setattr(about, field, number if field != "shard_id" else number % 2**31 - 2**30)
    elif kind == "claim":
        # Numbers that agree with each other, of a tensor that is larger than its file.
        elements = chosen.choice([10**6, 10**9, 10**12, 2**50, 2**61])
        about.dtype, about.size = 1, elements * 4 & (2**63 - 1)
        del about.shape.dim[:]
        about.shape.dim.add(size=elements)
    elif kind == "texts":
        _forge_texts(prefix, about, chosen)
    elif kind == "parts":
        for _ in range(chosen.randint(1, 3)):
            part = about.slices.add()
            for _ in range(chosen.choice([len(about.shape.dim), 0, 1])):
                part.extent.add(
                    start=chosen.choice([0, 0, *HUGE]), length=chosen.choice([1, 2, *HUGE])
                )
    values[key] = about.SerializeToString()
    if kind == "message":
        values[chosen.choice([key, key, b""])] = chosen.randbytes(chosen.randint(0, 40))
    path.write_bytes(index(values))
    return kind


def _forge_texts(prefix: Path, about: Any, chosen: random.Random) -> None:
    """Make a tensor one of texts whose lengths are wrong and have the right checksum."""
    data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    lengths = [
        chosen.choice([0, 5, 2**31 - 1, 2**40, 2**62, 2**64 - 1])
        for _ in range(chosen.randint(1, 4))
    ]
    numbers = b"".join(struct.pack("<I" if length < 2**32 else "<Q", length) for length in lengths)
    content = b"".join(map(varint, lengths)) + struct.pack("<I", masked_crc(numbers)) + bytes(64)
    about.dtype, about.offset, about.size = 7, data.stat().st_size, len(content)
    del about.shape.dim[:]
    about.shape.dim.add(size=len(lengths))
    with data.open("ab") as file:
        file.write(content)


def _tampered_table(values: Mapping[bytes, bytes], chosen: random.Random) -> bytes:
    """An index with right checksums, and with wrong numbers in its blocks or handles."""
    entries = sorted(values.items())
    block = bytearray(_block(entries))
    kind = chosen.choice(["bytes", "jumps", "count", "compressed", "order", "handle", "footer"])
    compression = b"\0"
    if kind == "bytes":
        for _ in range(chosen.randint(1, 4)):
            block[chosen.randrange(len(block))] = chosen.randrange(256)
    elif kind == "jumps":
        block[-8:] = struct.pack("<II", chosen.choice([3, len(block), 2**31, 2**32 - 1]), 1)
    elif kind == "count":
        block[-4:] = struct.pack("<I", chosen.choice([0, 2, 2**30, 2**31, 2**32 - 1]))
    elif kind == "compressed":
        compression = chosen.choice([b"\1", b"\1", b"\2", b"\xff"])
        if chosen.random() < 0.5:
            block[:0] = varint(chosen.choice([0, 2**31, 2**32 - 1, 2**40]))
    elif kind == "order":
        chosen.shuffle(entries)
        block = bytearray(_block(entries + entries[: chosen.randint(0, 2)]))
    sizes = [chosen.choice([len(block), *HUGE, 2**64 - 5]) for _ in range(2)]
    handle = varint(0) + varint(len(block))
    if kind == "handle":
        handle = varint(chosen.choice([0, sizes[0]])) + varint(sizes[1])
    file = bytes(block) + compression
    file += struct.pack("<I", masked_crc(file))
    top = _block([(b"\x7f", handle)])
    footer = varint(len(file)) + varint(len(top))
    file += top + b"\0" + struct.pack("<I", masked_crc(top + b"\0"))
    if kind == "footer":
        footer = varint(chosen.choice([0, sizes[0]])) + varint(sizes[1])
    footer = (varint(0) + varint(8) + footer)[:40]
    return file + footer.ljust(40, b"\0") + struct.pack("<Q", _MAGIC)
