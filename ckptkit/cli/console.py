"""What commands print: JSON for programs, tables for people. Colours only on a terminal, and never
where NO_COLOR is set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from ckptkit.cli.terminal import colours
from ckptkit.cli.text_table import table

JSON_VERSION = 1
"""Of all `--json` forms: fields may be added under it, and what is there keeps its name and
meaning.
"""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people."
)


def print_json(values: Mapping[str, object]) -> None:
    """Prints one JSON object, with its version first."""
    click.echo(json.dumps({"version": JSON_VERSION, **values}, indent=2, allow_nan=False))


def print_json_line(values: Mapping[str, object]) -> None:
    """Prints one JSON object on one line, with its version first; for what goes on."""
    click.echo(json.dumps({"version": JSON_VERSION, **values}, allow_nan=False))


def coloured(text: str, style: str = "") -> str:
    """A text in a colour, where that is possible."""
    return click.style(text, fg=style) if style and colours() else text


def print_line(text: str = "", style: str = "") -> None:
    """Prints one line, in a colour where that is possible."""
    click.echo(coloured(text, style))


def print_lines(lines: Sequence[str]) -> None:
    """Prints several lines as they are."""
    if lines:
        click.echo("\n".join(lines))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    red: Sequence[int] = (),
    indent: int = 0,
) -> None:
    """Prints a table; the arguments are those of `table`."""
    click.echo("\n".join(table(columns, rows, right=right, red=red, indent=indent)))
