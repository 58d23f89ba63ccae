"""`ckptkit export RUN OUT`: publish a checkpoint of a run as a SavedModel."""

from __future__ import annotations

import os

import click

from ckptkit.cli.checkpoint_choice import CHOICES, choice_callback, is_best, run_argument
from ckptkit.cli.checkpoint_lookup import find_good_checkpoint, open_named_run
from ckptkit.cli.console import examples, json_option, print_json, print_line
from ckptkit.cli.plain_text import plain
from ckptkit.errors import ConfigError
from ckptkit.exports.export_record import ExportSource
from ckptkit.exports.finite_weights import check_finite
from ckptkit.exports.version_directories import check_base
from ckptkit.printable_text import sentence
from ckptkit.run.checkpoint_catalog import Checkpoint


@click.command(
    "export",
    epilog=examples(
        "ckptkit export runs/digits served",
        "ckptkit export runs/digits served --step best:val_accuracy",
    ),
)
@run_argument
@click.argument("out", metavar="OUT")
@click.option(
    "--step",
    "which",
    default="latest",
    metavar=CHOICES,
    callback=choice_callback,
    help="The checkpoint to publish.  [default: latest]",
)
@click.option(
    "--name",
    metavar="NAME",
    help="The model of a run with several, by its name in state={...}.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How many versions stay in OUT, including the new one.",
)
@click.option(
    "--limit-secs",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="The longest time in which the fresh process has to answer.",
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

    The model is rebuilt from the architecture that is stored with its checkpoints, so the training
    code is not needed. It is published only after a fresh process has loaded it and has computed
    the same outputs. A step that already is the newest version is not exported again. Safe to call
    while the run is training.
    """
    found = open_named_run(run)
    base = check_base(out)
    checkpoint = find_good_checkpoint(found, which)
    if which == "latest" or is_best(which):
        check_finite(checkpoint.head, f"--step {checkpoint.step}")
    # Hide TensorFlow's own log lines about the machine.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Before the import of Keras. A run's model is TensorFlow's, whatever the shell asks for.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from ckptkit.export.export_spec import ExportSpec
    from ckptkit.export.publishing import export, in_words
    from ckptkit.load.model_loading import load_model

    try:
        model = load_model(run, step=checkpoint.step, name=name)
    except ConfigError as error:
        # custom_objects help only if the architecture was stored. Otherwise the user's own code
        # has to build the model, so the message names both ways.
        raise ConfigError(
            f"{sentence(error)} If the model needs your code, export it from Python with "
            f"ckptkit.export_saved_model(model, {out!r}). Get the model from "
            f"ckptkit.load_model({run!r}, custom_objects={{...}}, step={checkpoint.step}), or "
            f"build it and call ckptkit.load_weights(model, {run!r}, step={checkpoint.step})."
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
    if is_best(which):
        return "best"
    return "final" if checkpoint.manifest.final else "step"
