"""Computes the keys under which TensorFlow stores the parts of a tensor.

A variable that is split over servers is stored in parts. The key of a part is not readable: it is
the tensor's key with the part's numbers, in a form that sorts like them
(tensorflow/core/util/saved_tensor_slice_util.cc, tensorflow/core/lib/strings/ordered_code.cc).
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def part_key(key: bytes, part: Sequence[tuple[int, int]]) -> bytes:
    """Return the key of a part.

    Args:
        key: the key of the whole tensor.
        part: its start and length in each dimension; the length is -1 for all of it.
    """
    escaped = re.sub(rb"[\x00\xff]", lambda found: found[0] + bytes([~found[0][0] & 0xFF]), key)
    numbers = b"".join(_signed(number) for extent in part for number in extent)
    return b"\x00" + escaped + b"\x00\x01" + _unsigned(len(part)) + numbers


def _unsigned(number: int) -> bytes:
    digits = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes([len(digits)]) + digits


def _signed(number: int) -> bytes:
    """Return a number whose first bits are set as often as it has bytes, like UTF-8."""
    width = (~number if number < 0 else number).bit_length() // 7 + 1
    marks = ((1 << width) - 1) << 7 * width
    return (marks ^ (number & ((1 << 8 * width) - 1))).to_bytes(width, "big")
