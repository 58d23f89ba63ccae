"""`ckptkit tensors PATH [WHICH]`: list what is saved, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from ckptkit.cli.checkpoint_choice import path_argument, which_argument
from ckptkit.cli.console import examples, json_option, print_json, print_line, print_table
from ckptkit.cli.path_target import find_target
from ckptkit.cli.plain_text import count, natural_key, plain
from ckptkit.cli.progress_line import progress
from ckptkit.cli.tensor_source import TensorSource, open_tensor_source
from ckptkit.cli.value_text import json_value, shape_words, value_words
from ckptkit.load.tensor_list import Tensor, TensorPart, Total, total, totals
from ckptkit.log import size

if TYPE_CHECKING:
    from ckptkit.load.tensor_statistics import Statistics
    from ckptkit.load.tensor_values import Contents

_PARTS = list(TensorPart)

ORDERS: dict[str, Callable[[Tensor], tuple[object, ...]]] = {
    "part": lambda tensor: (_PARTS.index(tensor.part), natural_key(tensor.key)),
    "name": lambda tensor: (natural_key(tensor.name), natural_key(tensor.key)),
    "key": lambda tensor: (natural_key(tensor.key),),
    "size": lambda tensor: (-tensor.size_bytes, natural_key(tensor.key)),
    "type": lambda tensor: (tensor.dtype, natural_key(tensor.key)),
}
"""The orders of the table, by the names that --sort takes."""


@click.command(
    "tensors",
    epilog=examples(
        "ckptkit tensors runs/digits --sort size",
        "ckptkit tensors runs/digits 600 --filter '*kernel*' --stats",
    ),
)
@path_argument
@which_argument(default="latest", required=False)
@click.option(
    "--sort",
    "order",
    type=click.Choice(list(ORDERS)),
    default="part",
    show_default=True,
    help="The order: part puts weights before the optimizer and the rest, size the largest first.",
)
@click.option(
    "--filter",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only tensors whose name or key contains this text; with *, ? or [ it is a pattern. May "
    "be given more than once; one match is enough.",
)
@click.option(
    "--stats",
    is_flag=True,
    help="Read the values: min, max and mean of the finite ones, and how many are NaN or infinite.",
)
@json_option
def command(
    path: str, which: int | str, order: str, patterns: tuple[str, ...], stats: bool, as_json: bool
) -> None:
    """List the tensors of one checkpoint of the run PATH (latest by default).

    The list has names, shapes, types, sizes and totals.

    PATH may also be a TensorFlow checkpoint, a .keras, .weights.h5 or .h5 file, a SavedModel, or a
    directory of its versions; STEP is the number of a version then. Those import TensorFlow. So
    does --stats, which reads one tensor after the other and needs memory for one.
    """
    with open_tensor_source(find_target(path, which), with_values=stats) as source:
        chosen = sorted(
            (tensor for tensor in source.tensors if matches(tensor, patterns)), key=ORDERS[order]
        )
        statistics = (
            _statistics(source.contents, chosen) if stats and source.contents is not None else None
        )
    listing = TensorListing(source, chosen, statistics, filtered=bool(patterns))
    if as_json:
        print_json(listing.as_json())
    else:
        listing.show()


def matches(tensor: Tensor, patterns: Sequence[str]) -> bool:
    """Return whether a tensor matches any of the patterns; without patterns all match."""
    names = (tensor.name, tensor.key)
    return not patterns or any(
        fnmatchcase(name, pattern) if set(pattern) & set("*?[") else pattern in name
        for name in names
        for pattern in patterns
    )


def _statistics(contents: Contents, tensors: Sequence[Tensor]) -> list[Statistics]:
    from ckptkit.load.tensor_statistics import statistics, unreadable

    found = []
    with progress("reading", total(tensors).size_bytes) as advance:
        for tensor in tensors:
            values = contents.read(tensor)
            found.append(unreadable() if values is None else statistics(values))
            advance(tensor.size_bytes)
    return found


@dataclass(frozen=True)
class TensorListing:
    """The tensors that `ckptkit tensors` lists.

    Args:
        source: the open checkpoint, model or weights.
        tensors: the listed tensors, in their order.
        statistics: the statistics of each listed tensor, or None if they were not asked for.
        filtered: whether patterns may have left some tensors out.
    """

    source: TensorSource
    tensors: Sequence[Tensor]
    statistics: Sequence[Statistics] | None
    filtered: bool

    def as_json(self) -> dict[str, object]:
        """Return the form of `ckptkit tensors --json`; see docs/cli.md."""
        measured: Sequence[Statistics | None] = self.statistics or [None] * len(self.tensors)
        return {
            **self.source.as_json(),
            "tensors": [
                tensor_json(tensor) | {"statistics": statistics and _statistics_json(statistics)}
                for tensor, statistics in zip(self.tensors, measured, strict=True)
            ],
            "totals": {
                name: {"tensors": each.tensors, "size_bytes": each.size_bytes}
                for name, each in self._totals().items()
            },
            "there_are": len(self.source.tensors),
        }

    def show(self) -> None:
        """Print the listing for people."""
        where = self.source.checkpoint or f"{plain(self.source.path)}: {self.source.format}"
        print_line(
            f"{where}: {count(len(self.source.tensors), 'tensor')}"
            + (f", {len(self.tensors):,} of them listed" if self.filtered else "")
        )
        if not self.tensors:
            return
        with_keys = any(tensor.name != tensor.key for tensor in self.tensors)
        bad = [number for number, each in enumerate(self.statistics or ()) if each.nan]
        columns = [
            "name",
            *(["key"] if with_keys else []),
            "shape",
            "type",
            "size",
            *(_MEASURES if self.statistics else []),
            "",
        ]
        rows = [
            [
                tensor.name,
                *([tensor.key] if with_keys else []),
                shape_words(tensor.shape),
                tensor.dtype,
                _size(tensor.size_bytes),
                *(_measured(self.statistics[number]) if self.statistics else [""]),
            ]
            for number, tensor in enumerate(self.tensors)
        ]
        print_line()
        print_table(columns, rows, right=["size", *_MEASURES], red=bad)
        print_line()
        print_table(
            ["", "", ""],
            [
                [name, count(each.tensors, "tensor"), _size(each.size_bytes)]
                for name, each in self._totals().items()
            ],
        )
        if bad:
            print_line(f"NaN in {count(len(bad), 'tensor')}", style="red")

    def _totals(self) -> dict[str, Total]:
        parts = totals(self.tensors)
        return {**{str(part): parts[part] for part in TensorPart}, "total": total(self.tensors)}


_MEASURES = ["min", "max", "mean", "nan", "inf"]


def tensor_json(tensor: Tensor) -> dict[str, object]:
    """Return a tensor's JSON form."""
    return {
        "key": tensor.key,
        "name": tensor.name,
        "part": str(tensor.part),
        "kind": tensor.kind,
        "shape": None if tensor.shape is None else list(tensor.shape),
        "dtype": tensor.dtype,
        "size_bytes": tensor.size_bytes,
        "trainable": tensor.trainable,
    }


def _statistics_json(statistics: Statistics) -> dict[str, object]:
    return {
        "elements": statistics.elements,
        **{name: json_value(getattr(statistics, name)) for name in _MEASURES},
        "note": statistics.note or None,
    }


def _measured(statistics: Statistics) -> list[str]:
    return [*(value_words(getattr(statistics, name)) for name in _MEASURES), statistics.note]


def _size(size_bytes: int) -> str:
    return size(size_bytes) if size_bytes else "-"
