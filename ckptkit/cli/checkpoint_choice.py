"""Parses the argument that chooses a checkpoint of a run. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ckptkit.cli.plain_text import plain

_MOST_DIGITS = 18
"""Python converts a longer number slowly, and no step has that many digits."""

run_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "run", metavar="RUN"
)


def parse_choice(text: str) -> int | str | None:
    """Return a step as a number, or `latest` or `best`; None if the text is none of these."""
    if text in ("latest", "best"):
        return text
    # Without isascii, int() would also accept digits of other scripts, such as Arabic ones.
    is_step = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_step else None


def choice_callback(_context: click.Context, _parameter: click.Parameter, text: str) -> int | str:
    """Check the argument that chooses a checkpoint; a callback for click.

    Raises:
        BadParameter: If the text is neither a step nor `latest` or `best`.
    """
    choice = parse_choice(text)
    if choice is None:
        raise click.BadParameter(
            f"Expected a step, 'latest' or 'best'. Received: {plain(text)!r}. "
            "ckptkit list RUN shows the steps."
        )
    return choice
