"""What commands print: JSON for programs, tables for people. Colours only on a terminal, and never where NO_COLOR is set."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ckptkit.cli.text import plain

if TYPE_CHECKING:
    from rich.console import Console

JSON_VERSION = 1
"""Of all `--json` forms: fields may be added under it, and what is there keeps its name and meaning."""

_UNBOUNDED = 100_000
"""Columns of what is no terminal: nothing is cut or folded there, so that `grep` finds whole lines."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people.")


def print_json(values: Mapping[str, object]) -> None:
    """Prints one JSON object, with its version first."""
    click.echo(json.dumps({"version": JSON_VERSION, **values}, indent=2, allow_nan=False))


def print_line(text: str = "", style: str = "") -> None:
    """Prints one line, in a colour where that is possible."""
    if style and _colours():
        text = click.style(text, fg=style)
    click.echo(text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), red: Sequence[int] = (),
                indent: int = 0) -> None:
    """Prints a table.

    Args:
        columns: their headings.
        rows: the cells; every control character in them is made visible.
        right: headings of the columns that are aligned to the right.
        red: numbers of the rows that tell of a problem.
        indent: blanks before each line.
    """
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold" if any(columns) else "", show_header=any(columns))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for number, row in enumerate(rows):
        # Text, not str: rich would read square brackets in a name as its own markup.
        table.add_row(*(Text(plain(cell)) for cell in row), style="red" if number in red else None)
    console = _console()
    with console.capture() as captured:
        console.print(Padding(table, (0, 0, 0, indent)) if indent else table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _console() -> Console:
    from rich.console import Console

    terminal = _is_terminal()
    size: dict[str, Any] = {} if terminal else {"width": _UNBOUNDED}
    return Console(force_terminal=terminal, color_system="auto" if _colours() else None, highlight=False, **size)


def _colours() -> bool:
    return _is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()
