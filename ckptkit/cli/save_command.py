"""`ckptkit save RUN`: let the running training save a checkpoint now and continue."""

from __future__ import annotations

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.training_requests import send_request, timeout_option


@click.command("save", short_help="Let the running training save a checkpoint now.")
@run_argument
@timeout_option
def command(run: str, timeout_secs: float | None) -> None:
    """Let the process that trains RUN save at its next safe point and continue.

    Works from any machine that sees the run directory. Waits until the checkpoint is committed.
    """
    send_request(run, "save", timeout_secs)
