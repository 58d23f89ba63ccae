"""`ckptkit unpin RUN STEP`: leaves a checkpoint to the keep policy again."""

from __future__ import annotations

import click

from ckptkit.cli.output import print_line
from ckptkit.cli.runs import opened, run_argument
from ckptkit.errors import CheckpointNotFoundError
from ckptkit.store.files import FileSystem
from ckptkit.store.pins import read_pins, unpin


@click.command("unpin", short_help="Leave a pinned checkpoint to the keep policy again.")
@run_argument
@click.argument("step", metavar="STEP", type=click.IntRange(min=0))
def command(run: str, step: int) -> None:
    """Take the pins of a step of RUN away. The checkpoint itself stays until the keep policy gives it up.

    May be called while the run is training.
    """
    found = opened(run)
    pins = read_pins(found.layout)
    matching = [name for name in pins if name.step == step]
    if not matching:
        known = ", ".join(str(each) for each in sorted({name.step for name in pins})) or "none"
        raise CheckpointNotFoundError(f"{found.directory} has no pin of step {step}. Pinned steps: {known}.")
    for name in matching:
        unpin(FileSystem(), found.layout, name)
        print_line(f"unpinned {name}")
