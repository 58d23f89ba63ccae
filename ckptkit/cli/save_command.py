"""`ckptkit save RUN`: let the running training save a checkpoint now and continue."""

from __future__ import annotations

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.console import examples, json_option
from ckptkit.cli.training_requests import send_request, timeout_option


@click.command(
    "save",
    epilog=examples(
        "ckptkit save runs/digits",
        "ckptkit save runs/digits --timeout 60",
    ),
)
@run_argument
@timeout_option
@json_option
def command(run: str, timeout_secs: float | None, as_json: bool) -> None:
    """Let the process that trains RUN save at its next safe point and continue.

    Works from any machine that sees the run directory. Waits until the checkpoint is committed.
    """
    send_request(run, "save", timeout_secs, as_json=as_json)
