"""`ckptkit export RUN OUT`: a checkpoint of a run as a SavedModel."""

from __future__ import annotations

import os

import click

from ckptkit.cli.output import json_option, print_json, print_line
from ckptkit.cli.runs import chosen, opened, run_argument, which_checkpoint
from ckptkit.cli.text import plain
from ckptkit.store.catalog import Checkpoint
from ckptkit.store.export_record import Source
from ckptkit.store.exports import check_base


@click.command("export", short_help="Publish a checkpoint's model for serving.")
@run_argument
@click.argument("out", metavar="OUT")
@click.option("--step", "which", default="latest", metavar="STEP|latest|best", callback=which_checkpoint, help="Which checkpoint.  [default: latest]")
@click.option("--keep", type=click.IntRange(min=1), default=2, show_default=True, help="How many versions stay in OUT, the new one among them.")
@json_option
def command(run: str, out: str, which: int | str, keep: int, as_json: bool) -> None:
    """Publish the Keras model of RUN as a SavedModel in OUT/<version>/.

    The model is built again from what lies beside its checkpoints, without the code that trained it. It is published when a fresh process has
    loaded it and has got what the model gives; otherwise nothing is. A step that is there already is not exported again. May be called while the
    run is training.
    """
    found = opened(run)
    base = check_base(out)
    checkpoint = chosen(found, which)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own lines about the machine are of no use here
    from ckptkit.export.publishing import export, in_words
    from ckptkit.export.spec import ExportSpec
    from ckptkit.load.model import load_model

    model = load_model(run, step=checkpoint.step)
    source = Source(step=checkpoint.step, checkpoint=str(checkpoint.name), weights=_weights(checkpoint, which))
    published = export(model, base, ExportSpec(keep=keep), source=source)
    record = published.record
    proofs = {name: signature.proof for name, signature in record.signatures.items()}
    if as_json:
        print_json({"run": run, "checkpoint": str(checkpoint.name), "step": checkpoint.step, "path": str(published.path), "is_new": published.is_new,
                    "check_secs": record.check_secs if published.is_new else None, "proofs": {name: proof.how for name, proof in proofs.items()}})
    elif published.is_new:
        print_line(f"published {checkpoint.name} as {plain(published.path)} (checked in {record.check_secs:.1f} s: {in_words(proofs)})")
    else:
        print_line(f"{checkpoint.name} is exported already, as {plain(published.path)}")


def _weights(checkpoint: Checkpoint, which: int | str) -> str:
    if which == "best":
        return "best"
    return "final" if checkpoint.manifest.final else "step"
