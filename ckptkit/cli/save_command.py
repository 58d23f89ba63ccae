"""`ckptkit save RUN`: the process that trains a run saves it now, and goes on."""

from __future__ import annotations

import click

from ckptkit.cli.live_requests import asked, timeout_option
from ckptkit.cli.run_arguments import run_argument


@click.command("save", short_help="Have the training save a checkpoint now.")
@run_argument
@timeout_option
def command(run: str, timeout_secs: float | None) -> None:
    """Have the process that trains RUN save a checkpoint at its next safe point, and go on.

    May be called from any machine that sees the run directory. Waits until the checkpoint is
    committed.
    """
    asked(run, "save", timeout_secs)
