"""Formats tables as lines of text.

A table that is wider than the terminal continues each row on further lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import click

from ckptkit.cli.plain_text import plain
from ckptkit.cli.terminal import colours, width

_GAP = 2
_CONTINUED = 4
"""How far the continuation of a row is indented, in columns."""


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
        return _stacked(columns, cells, widths, right, red, indent)
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
        for cell, wide, right in zip(row, widths[: len(row)], to_the_right, strict=True)
    ]
    return (" " * indent + (" " * _GAP).join(padded)).rstrip()


def _width(cell: str) -> int:
    """Return the terminal columns that a text takes; some characters take two, some none."""
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len

    return cell_len(cell)


def _stacked(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    widths: Sequence[int],
    right: Sequence[str],
    red: Sequence[int],
    indent: int,
) -> list[str]:
    """Return the lines of a table that is too wide: each row continues below itself.

    The first columns that fit are a table. The others follow with their names, so every row can be
    read without scrolling sideways.
    """
    room = width() - indent
    shown = max(
        number
        for number in range(len(widths) + 1)
        if sum(widths[:number]) + _GAP * (number - 1) <= room
    )
    to_the_right = [column in right for column in columns[:shown]]
    lines = []
    if shown and any(columns):
        lines.append(_line(columns[:shown], widths, to_the_right, indent))
    if lines and colours():
        lines = [click.style(lines[0], bold=True)]
    for number, row in enumerate(cells):
        block = [_line(row[:shown], widths, to_the_right, indent)] if shown else []
        parts = [
            f"{column}: {cell}" if column else cell
            for column, cell in zip(columns[shown:], row[shown:], strict=True)
            if cell
        ]
        block += _wrapped(parts, room, indent + _CONTINUED)
        marked = number in red and colours()
        lines += [click.style(line, fg="red") for line in block] if marked else block
    return lines


def _wrapped(parts: Sequence[str], room: int, indent: int) -> list[str]:
    """Join parts to lines; a part that is longer than a line is cut at blanks, if it has any."""
    lines: list[str] = []
    for part in parts:
        # TextWrapper counts characters, which is enough here: a line may be a little too wide.
        wrapped = wrap(part, max(room - _CONTINUED, 20), break_on_hyphens=False) or [""]
        if lines and len(wrapped) == 1:
            joined = f"{lines[-1]}{' ' * (_GAP + 1)}{wrapped[0]}"
            if _width(joined) <= room - _CONTINUED:
                lines[-1] = joined
                continue
        lines += wrapped
    return [" " * indent + line for line in lines]
