"""`ckptkit stop RUN`: the process that trains a run saves it and ends."""

from __future__ import annotations

import click

from ckptkit.cli.live_requests import asked, timeout_option
from ckptkit.cli.run_arguments import run_argument


@click.command("stop", short_help="Have the training save, and end.")
@run_argument
@timeout_option
def command(run: str, timeout_secs: float | None) -> None:
    """Have the process that trains RUN save at its next safe point and end, with exit code 75.

    May be called from any machine that sees the run directory. `ckptkit run` does not start it
    again; the next start goes on from there.
    """
    asked(run, "stop", timeout_secs)
