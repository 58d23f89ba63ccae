"""`ckptkit pin RUN WHICH`: keep a checkpoint, whatever the keep policy says."""

from __future__ import annotations

import time

import click

from ckptkit.cli.checkpoint_choice import run_argument, which_argument
from ckptkit.cli.checkpoint_lookup import find_good_checkpoint, open_named_run
from ckptkit.cli.console import examples, json_option, print_json, print_line
from ckptkit.cli.plain_text import plain
from ckptkit.run.pins import MAX_NOTE_CHARACTERS, Pin, pin
from ckptkit.storage.files import FileSystem


@click.command(
    "pin",
    epilog=examples(
        "ckptkit pin runs/digits latest --note baseline",
        "ckptkit pin runs/digits best:val_accuracy",
    ),
)
@run_argument
@which_argument()
@click.option("--note", default="", metavar="TEXT", help="The reason, for later readers.")
@json_option
def command(run: str, which: int | str, note: str, as_json: bool) -> None:
    """Keep one checkpoint of RUN until it is unpinned.

    Neither training nor `ckptkit prune` deletes a pinned checkpoint. Safe to call while the run is
    training. A damaged checkpoint is not pinned (exit code 3).
    """
    if len(note) > MAX_NOTE_CHARACTERS:
        raise click.BadParameter(
            f"Expected a note of at most {MAX_NOTE_CHARACTERS:,} characters. Received: "
            f"{len(note):,}."
        )
    found = open_named_run(run)
    checkpoint = find_good_checkpoint(found, which)
    pin(FileSystem(), found.layout, checkpoint.name, Pin(pinned_at=time.time(), note=note))
    if as_json:
        print_json(
            {"run": run, "checkpoint": str(checkpoint.name), "step": checkpoint.step, "note": note}
        )
    else:
        print_line(f"pinned {checkpoint.name}{f': {plain(note)}' if note else ''}")
