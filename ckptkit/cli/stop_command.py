"""`ckptkit stop RUN`: let the running training save and end."""

from __future__ import annotations

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.training_requests import send_request, timeout_option


@click.command("stop", short_help="Let the running training save and end.")
@run_argument
@timeout_option
def command(run: str, timeout_secs: float | None) -> None:
    """Let the process that trains RUN save at its next safe point and end.

    It ends with exit code 75. Works from any machine that sees the run directory. `ckptkit run`
    does not start it again; the next start resumes from this checkpoint.
    """
    send_request(run, "stop", timeout_secs)
