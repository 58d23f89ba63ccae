"""`ckptkit unpin RUN WHICH`: let the keep policy decide about a checkpoint again."""

from __future__ import annotations

import click

from ckptkit.cli.checkpoint_choice import run_argument, which_argument
from ckptkit.cli.checkpoint_lookup import find_checkpoint, open_named_run
from ckptkit.cli.console import examples, json_option, print_json, print_line
from ckptkit.errors import CheckpointNotFoundError
from ckptkit.run.pins import read_pins, unpin
from ckptkit.storage.files import FileSystem


@click.command(
    "unpin",
    epilog=examples(
        "ckptkit unpin runs/digits 600",
    ),
)
@run_argument
@which_argument()
@json_option
def command(run: str, which: int | str, as_json: bool) -> None:
    """Remove the pins of one checkpoint of RUN, even if the checkpoint is gone.

    The checkpoint itself stays until the keep policy deletes it. Safe to call while the run is
    training.
    """
    found = open_named_run(run)
    pins = read_pins(found.layout)
    # A step may have pins of several attempts, and of checkpoints that no longer exist.
    chosen = which if isinstance(which, int) else find_checkpoint(found, which).name
    matching = [name for name in pins if chosen in (name, name.step)]
    if not matching:
        known = ", ".join(str(each) for each in sorted({name.step for name in pins})) or "none"
        what = f"of step {which}" if isinstance(which, int) else f"on its {which} checkpoint"
        raise CheckpointNotFoundError(
            f"{found.directory} has no pin {what}. Pinned steps: {known}."
        )
    for name in matching:
        unpin(FileSystem(), found.layout, name)
        if not as_json:
            print_line(f"unpinned {name}")
    if as_json:
        print_json({"run": run, "unpinned": [str(name) for name in matching]})
