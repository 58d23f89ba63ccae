"""`ckptkit adopt SOURCE RUN`: let a new run continue what another system has saved."""

from __future__ import annotations

import click

from ckptkit.cli.checkpoint_choice import run_argument
from ckptkit.cli.console import examples, json_option, print_json, print_line
from ckptkit.cli.plain_text import plain
from ckptkit.layout import run_layout
from ckptkit.load.adopted_sources import find_source
from ckptkit.load.formats import path_of
from ckptkit.run.adoption_request import AdoptionRequest, request_adoption
from ckptkit.storage.files import FileSystem


@click.command(
    "adopt",
    epilog=examples(
        "ckptkit adopt old/backup runs/digits", "ckptkit adopt old/tf_ckpts runs/gan --epoch 12"
    ),
)
@click.argument("source", metavar="SOURCE")
@run_argument
@click.option("--epoch", type=click.IntRange(min=0), help="The number of finished epochs.")
@click.option("--step", type=click.IntRange(min=0), help="The number of finished batches.")
@click.option("--partial", is_flag=True, help="Accept a source that lacks some of the state.")
@json_option
def command(
    source: str, run: str, epoch: int | None, step: int | None, partial: bool, as_json: bool
) -> None:
    """Let the first start of RUN continue the training in SOURCE.

    SOURCE is a directory of tf.train.CheckpointManager, BackupAndRestore, ModelCheckpoint or
    OrbaxCheckpoint, or one checkpoint in it. It is only read, by the training itself when it
    starts, because only the training has the model. RUN must have no checkpoint yet.
    """
    found = find_source(source)
    request = AdoptionRequest(
        source=str(path_of(source).absolute()),
        epoch=epoch,
        step=step,
        strict=not partial,
    )
    layout = run_layout(run)
    request_adoption(FileSystem(), layout, request)
    epochs = found.epoch if epoch is None else epoch
    if as_json:
        print_json(
            {
                "run": run,
                "source": str(found.path),
                "system": found.system,
                "epoch": epochs,
                "step": step,
            }
        )
        return
    known = "" if epochs is None else f", {epochs} epochs done"
    print_line(f"found {plain(str(found.path))} ({found.system}){known}")
    print_line(f"the next start of {plain(run)} continues from it")
