"""`ckptkit pin RUN WHICH`: keeps a checkpoint, whatever the keep policy says."""

from __future__ import annotations

import time

import click

from ckptkit.cli.console import print_line
from ckptkit.cli.plain_text import plain
from ckptkit.cli.run_arguments import chosen, opened, run_argument, which_checkpoint
from ckptkit.run.pins import MAX_NOTE_CHARACTERS, Pin, pin
from ckptkit.storage.files import FileSystem


@click.command("pin", short_help="Keep a checkpoint, whatever the keep policy says.")
@run_argument
@click.argument("which", metavar="STEP|latest|best", callback=which_checkpoint)
@click.option("--note", default="", metavar="TEXT", help="Why, for those who come later.")
def command(run: str, which: int | str, note: str) -> None:
    """Keep one checkpoint of RUN, until it is unpinned: neither training nor `ckptkit prune` takes
    it away.

    May be called while the run is training. A damaged checkpoint is not pinned (exit code 3).
    """
    if len(note) > MAX_NOTE_CHARACTERS:
        raise click.BadParameter(
            f"A note has at most {MAX_NOTE_CHARACTERS:,} characters. Received {len(note):,}."
        )
    found = opened(run)
    checkpoint = chosen(found, which)
    pin(FileSystem(), found.layout, checkpoint.name, Pin(pinned_at=time.time(), note=note))
    print_line(f"pinned {checkpoint.name}{f': {plain(note)}' if note else ''}")
