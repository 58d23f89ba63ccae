"""`ckptkit export RUN OUT`: a checkpoint of a run as a SavedModel."""

from __future__ import annotations

import os

import click

from ckptkit.cli.console import json_option, print_json, print_line
from ckptkit.cli.plain_text import plain
from ckptkit.cli.run_arguments import chosen, opened, run_argument, which_checkpoint
from ckptkit.errors import ConfigError
from ckptkit.exports.export_record import ExportSource
from ckptkit.exports.version_directories import check_base
from ckptkit.run.catalog import Checkpoint


@click.command("export", short_help="Publish a checkpoint's model for serving.")
@run_argument
@click.argument("out", metavar="OUT")
@click.option(
    "--step",
    "which",
    default="latest",
    metavar="STEP|latest|best",
    callback=which_checkpoint,
    help="Which checkpoint.  [default: latest]",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Of a run with several models: which, by its name in state={...}.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many versions stay in OUT, the new one among them.",
)
@click.option(
    "--limit-secs",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="How long the fresh process may take to answer.",
)
@json_option
def command(
    run: str,
    out: str,
    which: int | str,
    name: str | None,
    keep: int,
    limit_secs: float,
    as_json: bool,
) -> None:
    """Publish the Keras model of RUN as a SavedModel in OUT/<version>/.

    The model is built again from what lies beside its checkpoints, without the code that trained
    it. It is published when a fresh process has loaded it and has got what the model gives;
    otherwise nothing is. A step that is the newest version there already is not exported again. May
    be called while the run is training.
    """
    found = opened(run)
    base = check_base(out)
    checkpoint = chosen(found, which)
    os.environ.setdefault(
        "TF_CPP_MIN_LOG_LEVEL", "2"
    )  # TensorFlow's own lines about the machine are of no use here
    # Before the import of Keras. A run's model is TensorFlow's, whatever the shell asks for.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from ckptkit.export.export_spec import ExportSpec
    from ckptkit.export.publishing import export, in_words
    from ckptkit.load.model_loading import load_model

    try:
        model = load_model(run, step=checkpoint.step, name=name)
    except ConfigError as error:
        # A model that was not stored, because it is no data, is not built by custom_objects either.
        raise ConfigError(
            f"{error} Where it needs code of yours, which a command has not, export from Python, "
            "with "
            f"ckptkit.export_saved_model(model, {out!r}): the model is "
            f"ckptkit.load_model({run!r}, custom_objects={{...}}, "
            f"step={checkpoint.step}), or your own after ckptkit.load_weights(model, {run!r}, "
            f"step={checkpoint.step})."
        ) from error
    source = ExportSource(
        step=checkpoint.step, checkpoint=str(checkpoint.name), weights=_weights(checkpoint, which)
    )
    published = export(model, base, ExportSpec(keep=keep, limit_secs=limit_secs), source=source)
    record = published.record
    proofs = {name: signature.proof for name, signature in record.signatures.items()}
    if as_json:
        print_json(
            {
                "run": run,
                "checkpoint": str(checkpoint.name),
                "step": checkpoint.step,
                "path": str(published.path),
                "is_new": published.is_new,
                "check_secs": record.check_secs if published.is_new else None,
                "proofs": {name: proof.how for name, proof in proofs.items()},
            }
        )
    elif published.is_new:
        print_line(
            f"published {checkpoint.name} as {plain(published.path)} (checked in "
            f"{record.check_secs:.1f} s: {in_words(proofs)})"
        )
    else:
        print_line(f"{checkpoint.name} is exported already, as {plain(published.path)}")


def _weights(checkpoint: Checkpoint, which: int | str) -> str:
    if which == "best":
        return "best"
    return "final" if checkpoint.manifest.final else "step"
