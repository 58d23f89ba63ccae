"""`ckptkit show PATH [WHICH]`: everything that a checkpoint, a model or weights say of themselves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import click

from ckptkit.cli import show_files
from ckptkit.cli.console import json_option, print_json, print_line, print_table
from ckptkit.cli.path_arguments import InFiles, target
from ckptkit.cli.plain_text import ago, count, date, metrics, plain
from ckptkit.cli.run_arguments import which_checkpoint
from ckptkit.log import size
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.manifest import Manifest, TensorEntry

VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
"""What TensorFlow adds to a key; the writer's own constant stands where TensorFlow is imported."""


@click.command("show", short_help="Show what a checkpoint, a model or weights say of themselves.")
@click.argument("run", metavar="PATH")
@click.argument("which", metavar="[STEP|latest|best]", default="latest", callback=which_checkpoint)
@json_option
def command(run: str, which: int | str, as_json: bool) -> None:
    """Show one checkpoint of the run PATH: by its step, or the latest (default), or the best by
    val_loss or loss.

    Of several attempts at one step, the highest counts. A damaged checkpoint is an error (exit code
    3): the message says what is wrong with it. Sizes of files are compared with the manifest; their
    contents are not read.

    PATH may also be a TensorFlow checkpoint, a .keras, .weights.h5 or .h5 file, a SavedModel, or a
    directory of its versions, where STEP is the number of one: what is in it is told, and nothing
    of it is run. Those import TensorFlow.
    """
    found = target(run, which)
    if isinstance(found, InFiles):
        show_files.show(found, as_json=as_json)
        return
    checkpoint = found.checkpoint()
    if as_json:
        print_json({"run": found.shown, **_as_json(checkpoint)})
    else:
        _show(checkpoint, time.time())


@dataclass(frozen=True)
class Share:
    """What a state has under one role."""

    role: str
    tensors: int
    size_bytes: int

    @classmethod
    def of(cls, tensors: Iterable[TensorEntry]) -> list[Share]:
        """The tensors of one state, by role, in the order of the file."""
        grouped: dict[str, list[int]] = {}
        for tensor in tensors:
            grouped.setdefault(tensor.role, []).append(tensor.size_bytes)
        return [cls(role, len(sizes), sum(sizes)) for role, sizes in grouped.items()]


def shares(manifest: Manifest) -> dict[str, list[Share]]:
    """How many tensors and bytes each state has, by role."""
    return {
        state.name: Share.of(t for t in manifest.tensors if t.key.partition("/")[0] == state.name)
        for state in manifest.states
    }


def settings(values: Mapping[str, object]) -> str:
    """The hyperparameters that have a value."""
    given = {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if value is not None
    }
    return "  ".join(f"{name}={text}" for name, text in given.items())


def _as_json(checkpoint: Checkpoint) -> dict[str, object]:
    manifest = checkpoint.manifest
    return {
        "name": str(checkpoint.name),
        "path": str(checkpoint.path),
        "prefix": str(checkpoint.prefix),
        "step": manifest.step,
        "epoch": manifest.epoch,
        "batch": manifest.batch,
        "attempt": manifest.attempt,
        "saved_at": manifest.saved_at,
        "trigger": manifest.trigger,
        "final": manifest.final,
        "total": manifest.total,
        "size_bytes": manifest.size_bytes,
        "metrics": manifest.metrics,
        "hyperparameters": manifest.hyperparameters,
        "versions": manifest.versions,
        "format_version": manifest.format_version,
        "files": [
            {"name": file.name, "size_bytes": file.size_bytes, "digest": file.digest}
            for file in manifest.files
        ],
        "states": [
            {
                "name": state.name,
                "class_name": state.class_name,
                "optimizers": state.classes,
                "roles": [
                    {"role": share.role, "tensors": share.tensors, "size_bytes": share.size_bytes}
                    for share in shares(manifest)[state.name]
                ],
            }
            for state in manifest.states
        ],
    }


def _show(checkpoint: Checkpoint, now: float) -> None:
    manifest = checkpoint.manifest
    print_line(
        f"{checkpoint.name}: {manifest.position}{', the end of training' if manifest.final else ''}"
    )
    print_table(
        ["", ""],
        [
            ["saved", f"{date(manifest.saved_at)} ({ago(manifest.saved_at, now)})"],
            ["because", manifest.trigger],
            ["attempt", str(manifest.attempt)],
            [
                "metrics",
                metrics(checkpoint.metrics, most=len(checkpoint.metrics)) or "none were reported",
            ],
            *(
                [["settings", settings(manifest.hyperparameters)]]
                if manifest.hyperparameters
                else []
            ),
            [
                "versions",
                "  ".join(f"{name} {version}" for name, version in manifest.versions.items()),
            ],
            ["directory", str(checkpoint.path)],
        ],
        indent=2,
    )

    print_line(f"\nfiles: {count(len(manifest.files), 'file')}, {size(manifest.size_bytes)}")
    print_table(
        ["name", "size", "digest"],
        [[file.name, size(file.size_bytes), file.digest] for file in manifest.files],
        right=["size"],
        indent=2,
    )

    print_line(f"\nstate: {count(len(manifest.tensors), 'tensor')}")
    rows = []
    for state in manifest.states:
        for share in shares(manifest)[state.name]:
            # What a table, an iterator or a Python object takes is known only to the file.
            rows.append(
                [
                    state.name,
                    state.class_name,
                    share.role,
                    str(share.tensors),
                    size(share.size_bytes) if share.size_bytes else "-",
                ]
            )
    print_table(
        ["name", "class", "role", "tensors", "size"], rows, right=["tensors", "size"], indent=2
    )
    for state in manifest.states:
        for path, name in state.classes.items():
            print_line(
                f"  optimizer of {plain(state.name)}{f' ({plain(path)})' if path else ''}: "
                f"{plain(name)}"
            )

    print_line("\nto read it with TensorFlow alone:")
    print_line(f"  reader = tf.train.load_checkpoint({str(checkpoint.prefix)!r})")
    if manifest.tensors:
        print_line(f"  reader.get_tensor({manifest.tensors[0].key + VALUE_SUFFIX!r})")
