"""`ckptkit diff --values`: compare the values of two sides, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptkit.cli.console import print_line, print_table
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.progress_line import progress
from ckptkit.cli.value_text import json_value, value_words
from ckptkit.load.tensor_list import NO_VALUES, UNREADABLE, Tensor
from ckptkit.load.tensor_pairing import Pairing
from ckptkit.restore.state_comparison import fits

if TYPE_CHECKING:
    from ckptkit.cli.tensor_source import TensorSource
    from ckptkit.load.tensor_differences import ValueDifference

OTHER_SHAPES = "the shapes differ"
_SAME_CHARACTERS = 10


@dataclass(frozen=True)
class ValueComparison:
    """The result of comparing the values of two sides, tensor by tensor.

    Args:
        differing: the pairs of tensors whose values differ, in the order of A.
        same: the number of pairs whose values have the same bits.
        left_out: the pairs that were not compared, with the reason.
    """

    differing: Sequence[tuple[Tensor, Tensor, ValueDifference]]
    same: int
    left_out: Sequence[tuple[Tensor, Tensor, str]]

    @property
    def equal(self) -> bool:
        """Whether all compared values are equal."""
        return not self.differing

    def as_json(self) -> dict[str, object]:
        """Return the part of `ckptkit diff --json` about values; see docs/cli.md."""
        return {
            "same": self.same,
            "differing": [
                {
                    "name": a.name,
                    "a_key": a.key,
                    "b_key": b.key,
                    "dtype": a.dtype,
                    "elements": found.elements,
                    "differing": found.differing,
                    "largest_absolute": json_value(found.largest_absolute),
                    "largest_relative": json_value(found.largest_relative),
                    "at": None if found.at is None else list(found.at),
                    "a": json_value(found.a),
                    "b": json_value(found.b),
                    "note": found.note or None,
                }
                for a, b, found in self.differing
            ],
            "not_compared": [
                {"name": a.name, "a_key": a.key, "b_key": b.key, "reason": reason}
                for a, b, reason in self.left_out
            ],
        }

    def show(self) -> None:
        """Print the comparison for people."""
        print_line(
            f"\nvalues: {count(len(self.differing), 'tensor')} "
            f"{'differs' if len(self.differing) == 1 else 'differ'}, {self.same:,} with the "
            "same bits"
        )
        if self.differing:
            numbers = ["differing", "of", "largest", "relative", "at", "A", "B"]
            print_table(
                ["name", *numbers, ""],
                [
                    [
                        a.name,
                        f"{found.differing:,}",
                        f"{found.elements:,}",
                        value_words(found.largest_absolute),
                        value_words(found.largest_relative),
                        "" if found.at is None else ", ".join(map(str, found.at)),
                        *map(value_words, differing_tails(found.a, found.b)),
                        found.note,
                    ]
                    for a, _, found in self.differing
                ],
                right=numbers,
                indent=2,
            )
        for reason in dict.fromkeys(reason for *_, reason in self.left_out):
            print_line(
                f"  not compared, because {reason}: "
                f"{', '.join(plain(a.name) for a, _, why in self.left_out if why == reason)}"
            )


def differing_tails(a: object, b: object) -> tuple[object, object]:
    """Return two texts without most of their common beginning; other values unchanged."""
    if not (isinstance(a, str | bytes) and isinstance(b, str | bytes) and type(a) is type(b)):
        return a, b
    same = next(
        (number for number, (one, other) in enumerate(zip(a, b, strict=False)) if one != other),
        min(len(a), len(b)),
    )
    begin = max(0, same - _SAME_CHARACTERS)
    return a[begin:], b[begin:]


def compare(left: TensorSource, right: TensorSource, pairing: Pairing) -> ValueComparison:
    """Compare the values of all pairs, with no more than one pair in memory.

    Args:
        left, right: the two sides, opened with their values.
        pairing: which tensors of both sides belong together.

    Raises:
        CorruptCheckpointError: If values cannot be read.
    """
    from ckptkit.load.tensor_differences import difference

    assert left.contents is not None
    assert right.contents is not None
    differing, same, left_out = [], 0, []
    with progress("comparing", sum(a.size_bytes for a, _ in pairing.pairs)) as advance:
        for a, b in pairing.pairs:
            x, y = (
                (left.contents.read(a), right.contents.read(b))
                if fits(a.shape, b.shape)
                else (None, None)
            )
            if x is None or y is None or x.shape != y.shape:
                left_out.append(
                    (a, b, NO_VALUES if UNREADABLE & {a.dtype, b.dtype} else OTHER_SHAPES)
                )
            else:
                found = difference(x, y)
                same += found.equal
                differing += [] if found.equal else [(a, b, found)]
            advance(a.size_bytes)
    return ValueComparison(differing, same, left_out)
