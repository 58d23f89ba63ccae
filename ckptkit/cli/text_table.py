"""Formats tables as lines of text.

Rows that fit on a line are padded here; only wider tables are folded by rich. rich needs a third of
a second for a thousand rows, which is more than all the rest of a command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from ckptkit.cli.plain_text import plain
from ckptkit.cli.terminal import colours, width

_GAP = 2


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    red: Sequence[int] = (),
    indent: int = 0,
) -> list[str]:
    """Return the lines of a table with aligned columns.

    Args:
        columns: the headings.
        rows: the cells; every control character in them is escaped.
        right: the headings of the columns that are aligned to the right.
        red: the numbers of the rows that report a problem.
        indent: the number of blanks before each line.
    """
    cells = [[cell if cell.isprintable() else plain(cell) for cell in row] for row in rows]
    headed = [list(columns), *cells] if any(columns) else cells
    widths = [max(map(_width, column)) for column in zip(*headed, strict=True)] if headed else []
    if indent + sum(widths) + _GAP * (len(widths) - 1) > width():
        return _folded(columns, cells, right, red, indent)
    to_the_right, problems = [column in right for column in columns], set(red)
    lines = [_line(row, widths, to_the_right, indent) for row in headed]
    if colours():
        first = len(headed) - len(cells)
        lines = [
            click.style(line, bold=True)
            if number < first
            else click.style(line, fg="red")
            if number - first in problems
            else line
            for number, line in enumerate(lines)
        ]
    return lines


def _line(
    row: Sequence[str], widths: Sequence[int], to_the_right: Sequence[bool], indent: int
) -> str:
    padded = [
        " " * (wide - _width(cell)) + cell if right else cell + " " * (wide - _width(cell))
        for cell, wide, right in zip(row, widths, to_the_right, strict=True)
    ]
    return (" " * indent + (" " * _GAP).join(padded)).rstrip()


def _width(cell: str) -> int:
    """Return the terminal columns that a text takes; some characters take two, some none."""
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len

    return cell_len(cell)


def _folded(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Sequence[str],
    red: Sequence[int],
    indent: int,
) -> list[str]:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    folded = Table(
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        header_style="bold" if any(columns) else "",
        show_header=any(columns),
    )
    for column in columns:
        folded.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for number, row in enumerate(cells):
        # Text, not str: rich would read square brackets in a name as its own markup.
        folded.add_row(*map(Text, row), style="red" if number in red else None)
    console = Console(
        file=sys.stdout,
        force_terminal=True,
        color_system="auto" if colours() else None,
        highlight=False,
        width=width(),
    )
    with console.capture() as captured:
        console.print(Padding(folded, (0, 0, 0, indent)) if indent else folded)
    return [line.rstrip() for line in captured.get().splitlines()]
