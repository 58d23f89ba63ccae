"""Reads the table in the index file of a TensorFlow checkpoint, and trusts no number in it.

It is a table of LevelDB (tensorflow/core/lib/io/format.cc): blocks of sorted entries, a block that
lists them, and a footer of 48 bytes. TensorFlow takes memory for whatever size a block claims, and
jumps to whatever place a block names, so it must not be the first to read a file of a stranger.
Checksums are left to TensorFlow: they do not protect against a file that was made on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_FOOTER_BYTES = 48
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_TRAILER_BYTES = 5
_PLAIN, _SNAPPY = 0, 1

Read = Callable[[int, int], bytes]
"""Returns bytes of the file: from an offset, so many."""


def read_table(read: Read, file_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield each key with its value, in order.

    Args:
        read: reads the file.
        file_bytes: the size of the file.

    Raises:
        ValueError: If it is not such a table.
    """
    if file_bytes < _FOOTER_BYTES:
        raise ValueError("the index is too short")
    footer = read(file_bytes - _FOOTER_BYTES, _FOOTER_BYTES)
    if not footer.endswith(_MAGIC):
        raise ValueError("the index has no footer")
    at = _skip_handle(footer, 0)
    last = None
    for _, handle in _entries(_block(read, footer, at, file_bytes)):
        for key, value in _entries(_block(read, handle, 0, file_bytes)):
            if last is not None and key <= last:
                raise ValueError("the keys in the index are not sorted")
            last = key
            yield key, value


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode a number with seven bits in each byte; return it and the place after it.

    Raises:
        ValueError: If it does not end, or has more than 64 bits.
    """
    number = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                break
            return number, at
    raise ValueError("a number is cut off or too large")


def _skip_handle(data: bytes, at: int) -> int:
    for _ in range(2):
        _, at = varint(data, at)
    return at


def _block(read: Read, handle: bytes, at: int, file_bytes: int) -> bytes:
    offset, at = varint(handle, at)
    size, _ = varint(handle, at)
    if offset + size + _TRAILER_BYTES > file_bytes:
        raise ValueError(f"a block of the index ends beyond its {file_bytes} bytes")
    content = read(offset, size + 1)
    if len(content) != size + 1:
        raise ValueError("the index is shorter than it was")
    kind, content = content[-1], content[:-1]
    if kind == _SNAPPY:
        return _uncompressed(content)
    if kind != _PLAIN:
        raise ValueError("a block of the index has an unknown compression")
    return content


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a block, whose keys omit what they share with the key before.

    A block ends with the places of entries that omit nothing, to which a search jumps.
    """
    jumps = _jumps(block)
    end = len(block) - 4 * (len(jumps) + 1)
    at, key, whole = 0, b"", set()
    while at < end:
        begin = at
        shared, at = varint(block, at)
        more, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or at + more + size > end:
            raise ValueError("an entry of the index ends beyond its block")
        if not shared:
            whole.add(begin)
        key = key[:shared] + block[at : at + more]
        at += more
        yield key, block[at : at + size]
        at += size
    # An empty block has one place, its end.
    if not whole.issuperset(jumps) and (end or jumps != [0]):
        raise ValueError("a block of the index refers to a place between its entries")


def _jumps(block: bytes) -> list[int]:
    count = int.from_bytes(block[-4:], "little")
    begin = len(block) - 4 * (count + 1)
    if len(block) < 4 or begin < 0:
        raise ValueError("a block of the index is too short")
    return [int.from_bytes(block[at : at + 4], "little") for at in range(begin, len(block) - 4, 4)]


def _uncompressed(content: bytes) -> bytes:
    """Return the content of a block in Snappy's format, which TensorFlow reads but never writes."""
    size, at = varint(content, 0)
    out = bytearray()
    while at < len(content):
        tag, at = content[at], at + 1
        kind, length = tag & 3, tag >> 2
        if kind == 0:
            if length >= 60:
                width = length - 59
                length, at = int.from_bytes(content[at : at + width], "little"), at + width
            length += 1
            out += content[at : at + length]
            at += length
        else:
            if kind == 1:
                length, back, width = (length & 7) + 4, tag >> 5 << 8, 1
                back += int.from_bytes(content[at : at + width], "little")
            else:
                length, width = length + 1, 2 if kind == 2 else 4
                back = int.from_bytes(content[at : at + width], "little")
            at += width
            if not 0 < back <= len(out):
                raise ValueError("a compressed block of the index is damaged")
            piece = bytes(out[-back : len(out) - back + length])
            out += (piece * (length // len(piece) + 1))[:length]
        if len(out) > size:
            break
    if len(out) != size:
        raise ValueError("a compressed block of the index is damaged")
    return bytes(out)
