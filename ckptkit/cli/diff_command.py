"""`ckptkit diff A B`: compare two checkpoints, models or files of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ckptkit.cli import value_comparison
from ckptkit.cli.completion import complete_run
from ckptkit.cli.console import examples, json_option, print_json, print_line, print_table
from ckptkit.cli.path_target import find_target, split_step
from ckptkit.cli.plain_text import count, plain
from ckptkit.cli.tensor_source import TensorSource, open_tensor_source
from ckptkit.cli.value_text import shape_words
from ckptkit.exit_codes import ExitCode
from ckptkit.load.checkpoint_facts import FactDifference, changes
from ckptkit.load.tensor_pairing import Pairing, pair

if TYPE_CHECKING:
    from ckptkit.cli.value_comparison import ValueComparison
    from ckptkit.load.tensor_list import Tensor


@click.command(
    "diff",
    epilog=examples(
        "ckptkit diff runs/a runs/b",
        "ckptkit diff runs/digits@400 @600 --values",
    ),
)
@click.argument("a", metavar="A", shell_complete=complete_run)
@click.argument("b", metavar="B", shell_complete=complete_run)
@click.option(
    "--values",
    is_flag=True,
    help="Compare the values as well, bit by bit. Imports TensorFlow, and needs memory for two "
    "tensors.",
)
@json_option
def command(a: str, b: str, values: bool, as_json: bool) -> None:
    """Compare A and B: tensors, position, hyperparameters, versions. Exit code 1 if they differ.

    Each is RUN, RUN@STEP, RUN@latest or RUN@best; RUN alone means its latest checkpoint. B may be
    @STEP alone, for a checkpoint of the same run as A. Each may also be a TensorFlow checkpoint, a
    .keras, .weights.h5 or .h5 file, a SavedModel, or one of its versions, EXPORT@VERSION. Those
    import TensorFlow. If a file or directory has the name RUN@STEP, that file is meant; write
    RUN/@STEP for the checkpoint then.
    """
    path, which = split_step(a)
    with ExitStack() as stack:
        left, right = [
            stack.enter_context(open_tensor_source(found, with_values=values))
            for found in (find_target(path, which), find_target(*split_step(b, of=path)))
        ]
        one_format = left.format == right.format
        pairing = pair(left.tensors, right.tensors, one_format=one_format)
        compared = value_comparison.compare(left, right, pairing) if values else None
    result = DiffResult(
        left, right, changes(left.facts, right.facts, one_format=one_format), pairing, compared
    )
    if as_json:
        print_json(result.as_json())
    else:
        result.show()
    if result.differ:
        raise click.exceptions.Exit(ExitCode.ERROR)


@dataclass(frozen=True)
class DiffResult:
    """What differs between the two sides of `diff`.

    Args:
        a, b: the two sides.
        changes: the facts that differ, by topic.
        pairing: which tensors of both sides belong together.
        compared: the comparison of the values, or None if they were not compared.
    """

    a: TensorSource
    b: TensorSource
    changes: Mapping[str, Sequence[FactDifference]]
    pairing: Pairing
    compared: ValueComparison | None

    @property
    def differ(self) -> bool:
        """Whether there is any difference."""
        return (
            any(self.changes.values())
            or not self.pairing.same_form
            or not (self.compared is None or self.compared.equal)
        )

    def as_json(self) -> dict[str, object]:
        """Return the form of `ckptkit diff --json`; see docs/cli.md."""
        pairing = self.pairing
        return {
            "differ": self.differ,
            "a": self.a.as_json(),
            "b": self.b.as_json(),
            **{
                topic: [
                    {"name": each.name, "a": each.a, "b": each.b, "only": each.only or None}
                    for each in found
                ]
                for topic, found in self.changes.items()
            },
            "tensors": {
                "both": len(pairing.pairs),
                "added": [_tensor_json(each) for each in pairing.added],
                "removed": [_tensor_json(each) for each in pairing.removed],
                "reshaped": [
                    {"a": _tensor_json(a), "b": _tensor_json(b)} for a, b in pairing.reshaped
                ],
                "retyped": [
                    {"a": _tensor_json(a), "b": _tensor_json(b)} for a, b in pairing.retyped
                ],
            },
            "values": None if self.compared is None else self.compared.as_json(),
        }

    def show(self) -> None:
        """Print the result for people."""
        print_table(
            ["", "", ""],
            [
                [side, plain(each.path), each.format if each.step is None else f"step {each.step}"]
                for side, each in (("A", self.a), ("B", self.b))
            ],
        )
        for topic, found in self.changes.items():
            if found:
                print_line(f"\n{topic}")
                print_table(
                    ["name", "A", "B"],
                    [[each.name, _side(each, "a"), _side(each, "b")] for each in found],
                    indent=2,
                )
        rows = self._rows()
        if rows:
            counts = ", ".join(
                f"{number} {word}" for word, number in self._counts().items() if number
            )
            print_line(f"\ntensors: {counts}, of {count(len(self.pairing.pairs), 'pair')}")
            print_table(["", "name", "A", "B"], rows, indent=2)
        if self.compared is not None:
            self.compared.show()
        if not self.differ:
            values = (
                "values were not compared (--values)"
                if self.compared is None
                else f"the same bits in {self.compared.same:,} of them"
            )
            print_line(
                f"no difference: {count(len(self.pairing.pairs), 'tensor')}, {values}",
                style="green",
            )

    def _counts(self) -> dict[str, int]:
        found = self.pairing
        return {
            "added": len(found.added),
            "removed": len(found.removed),
            "reshaped": len(found.reshaped),
            "of another type": len(found.retyped),
        }

    def _rows(self) -> list[list[str]]:
        rows = [["removed", _name(each), _form(each), "-"] for each in self.pairing.removed]
        rows += [["added", _name(each), "-", _form(each)] for each in self.pairing.added]
        reshaped = set(self.pairing.reshaped)
        rows += [["reshaped", _name(a, b), _form(a), _form(b)] for a, b in self.pairing.reshaped]
        return rows + [
            ["type", _name(a, b), _form(a), _form(b)]
            for a, b in self.pairing.retyped
            if (a, b) not in reshaped
        ]


def _tensor_json(tensor: Tensor) -> dict[str, object]:
    return {
        "key": tensor.key,
        "name": tensor.name,
        "shape": None if tensor.shape is None else list(tensor.shape),
        "dtype": tensor.dtype,
        "size_bytes": tensor.size_bytes,
    }


def _name(tensor: Tensor, other: Tensor | None = None) -> str:
    own = tensor.key if tensor.name == tensor.key else f"{tensor.name}  ({tensor.key})"
    return own if other is None or other.key == tensor.key else f"{own} and {other.key}"


def _form(tensor: Tensor) -> str:
    return (
        f"{shape_words(tensor.shape)} {tensor.dtype}"
        if tensor.kind == "variable"
        else f"{tensor.kind}, {tensor.dtype}"
    )


def _side(change: FactDifference, side: str) -> str:
    if change.only and change.only != side:
        return "-"
    value = change.a if side == "a" else change.b
    return value if isinstance(value, str) else json.dumps(value)
