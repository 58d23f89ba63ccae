"""Asks before checkpoints are removed or moved, unless --yes or --dry-run is given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from ckptkit.exit_codes import ExitCode

yes_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--yes", is_flag=True, help="Do not ask for confirmation; needed without a terminal."
)
dry_run_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--dry-run",
    is_flag=True,
    help="Only show what would be done. Changes nothing, and works while the run is training.",
)


def confirm(question: str, *, yes: bool) -> None:
    """Ask the user; end the command with exit code 1 if the user declines.

    Args:
        question: what the command is about to do.
        yes: whether --yes was given, so that there is no question.

    Raises:
        UsageError: If standard input is not a terminal, so that no one can answer.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(
            f"{question} Without a terminal there is no one to confirm this. Expected --yes, or "
            "--dry-run to only look."
        )
    if not click.confirm(question, err=True):
        click.echo("ckptkit: nothing was changed", err=True)
        raise click.exceptions.Exit(ExitCode.ERROR)
