"""`ckptkit unpin RUN WHICH`: leaves a checkpoint to the keep policy again."""

from __future__ import annotations

import click

from ckptkit.cli.console import print_line
from ckptkit.cli.run_arguments import named, opened, run_argument, which_checkpoint
from ckptkit.errors import CheckpointNotFoundError
from ckptkit.run.pins import read_pins, unpin
from ckptkit.storage.files import FileSystem


@click.command("unpin", short_help="Leave a pinned checkpoint to the keep policy again.")
@run_argument
@click.argument("which", metavar="STEP|latest|best", callback=which_checkpoint)
def command(run: str, which: int | str) -> None:
    """Take the pins of one checkpoint of RUN away, or of a step whose checkpoint is gone. The
    checkpoint itself stays until the keep policy gives it up.

    May be called while the run is training.
    """
    found = opened(run)
    pins = read_pins(found.layout)
    # A step may have pins of several attempts, and of checkpoints that are not there any more.
    chosen = which if isinstance(which, int) else named(found, which).name
    matching = [name for name in pins if chosen in (name, name.step)]
    if not matching:
        known = ", ".join(str(each) for each in sorted({name.step for name in pins})) or "none"
        what = f"of step {which}" if isinstance(which, int) else f"on its {which} checkpoint"
        raise CheckpointNotFoundError(
            f"{found.directory} has no pin {what}. Pinned steps: {known}."
        )
    for name in matching:
        unpin(FileSystem(), found.layout, name)
        print_line(f"unpinned {name}")
