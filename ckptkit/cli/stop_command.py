"""`ckptkit stop RUN`: let the running training save and end."""

from __future__ import annotations

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.console import examples, json_option
from ckptkit.cli.training_requests import send_request, timeout_option


@click.command(
    "stop",
    epilog=examples(
        "ckptkit stop runs/digits",
        "ckptkit stop runs/digits --timeout 60",
    ),
)
@run_argument
@timeout_option
@json_option
def command(run: str, timeout_secs: float | None, as_json: bool) -> None:
    """Let the process that trains RUN save at its next safe point and end.

    It ends with exit code 75. Works from any machine that sees the run directory. `ckptkit run`
    does not start it again; the next start resumes from this checkpoint.
    """
    send_request(run, "stop", timeout_secs, as_json=as_json)
