"""Asking before something is taken away."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from ckptkit.exit_codes import ExitCode

yes_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--yes", is_flag=True, help="Do not ask; needed where nobody sits at a terminal."
)
dry_run_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what would be done; changes nothing, and works while the run is training.",
)


def confirm(question: str, *, yes: bool) -> None:
    """Goes on where the user agrees; ends the command with exit code 1 where not.

    Args:
        question: what is about to be done.
        yes: whether that was said already.

    Raises:
        UsageError: where there is nobody to ask.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(
            f"{question} Nobody can be asked here. Expected --yes, or --dry-run to only look."
        )
    if not click.confirm(question, err=True):
        click.echo("ckptkit: nothing was changed", err=True)
        raise click.exceptions.Exit(ExitCode.ERROR)
