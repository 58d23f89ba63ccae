"""Prints to standard output: JSON for programs, lines, tables and examples for people.

Colours appear only on a terminal, and never if NO_COLOR is set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap

import click

from ckptkit.cli.terminal import colours, width
from ckptkit.cli.text_table import table

JSON_VERSION = 1
"""The version of all `--json` forms.

A version may gain fields; existing fields keep their names and meanings.
"""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people."
)


def examples(*lines: str) -> str:
    """Return the `epilog` of a click command that shows examples.

    Args:
        lines: the commands, as a user types them; one that needs an explanation ends with a
            comment.
    """
    # click fills paragraphs, except those that begin with this mark.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def print_json(values: Mapping[str, object]) -> None:
    """Print one JSON object, with its version first."""
    click.echo(json.dumps({"version": JSON_VERSION, **values}, indent=2, allow_nan=False))


def print_json_line(values: Mapping[str, object]) -> None:
    """Print one JSON object on one line, with its version first; for streams of objects."""
    click.echo(json.dumps({"version": JSON_VERSION, **values}, allow_nan=False))


def coloured(text: str, style: str = "") -> str:
    """Return the text in a colour if standard output shows colours."""
    return click.style(text, fg=style) if style and colours() else text


def print_line(text: str = "", style: str = "") -> None:
    """Print one line, in a colour if standard output shows colours."""
    click.echo(coloured(text, style))


def print_prose(text: str) -> None:
    """Print a sentence, on several lines if the terminal is narrow."""
    click.echo("\n".join(wrap(text, width(), break_long_words=False, break_on_hyphens=False)))


def print_lines(lines: Sequence[str]) -> None:
    """Print several lines as they are."""
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
    """Print a table; the arguments are those of `table`."""
    click.echo("\n".join(table(columns, rows, right=right, red=red, indent=indent)))
