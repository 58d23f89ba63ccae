"""`ckptkit show PATH [WHICH]`: describe one checkpoint, model or file of weights."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import click

from ckptkit.cli import show_files
from ckptkit.cli.checkpoint_choice import which_argument
from ckptkit.cli.completion import complete_run
from ckptkit.cli.console import examples, json_option, print_json, print_line, print_table
from ckptkit.cli.path_target import FileTarget, find_target
from ckptkit.cli.plain_text import ago, count, date, metrics, plain
from ckptkit.log import size
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.data_anchor_entry import AnchorEntry
from ckptkit.run.manifest import Manifest
from ckptkit.run.tensor_entry import TensorEntry

VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
"""The suffix that TensorFlow appends to the key of a value.

It is repeated here because the writer's constant needs TensorFlow.
"""


@click.command(
    "show",
    epilog=examples(
        "ckptkit show runs/digits",
        "ckptkit show runs/digits best:val_accuracy",
        "ckptkit show model.keras",
    ),
)
@click.argument("run", metavar="PATH", shell_complete=complete_run)
@which_argument(default="latest", required=False)
@json_option
def command(run: str, which: int | str, as_json: bool) -> None:
    """Show one checkpoint of the run PATH: a step, the latest (default) or the best.

    The best is chosen by val_loss or loss, and best:METRIC by that metric; after best:METRIC:max a
    larger value is better. If several attempts saved one step, the highest attempt
    counts. A damaged checkpoint is an error (exit code 3); the message says what is wrong with it.
    File sizes are compared with the manifest; file contents are not read.

    PATH may also be a TensorFlow checkpoint, a .keras, .weights.h5 or .h5 file, a SavedModel, or a
    directory of its versions; STEP is the number of a version then. Their contents are described
    and never executed. Those import TensorFlow.
    """
    found = find_target(run, which)
    if isinstance(found, FileTarget):
        show_files.show(found, as_json=as_json)
        return
    checkpoint = found.checkpoint()
    if as_json:
        print_json({"run": found.shown, **_as_json(checkpoint)})
    else:
        _show(checkpoint, time.time())


@dataclass(frozen=True)
class Share:
    """The tensors of one role in a state: their number and size."""

    role: str
    tensors: int
    size_bytes: int

    @classmethod
    def of(cls, tensors: Iterable[TensorEntry]) -> list[Share]:
        """Group the tensors of one state by role, in the order of the file."""
        grouped: dict[str, list[int]] = {}
        for tensor in tensors:
            grouped.setdefault(tensor.role, []).append(tensor.size_bytes)
        return [cls(role, len(sizes), sum(sizes)) for role, sizes in grouped.items()]


def shares(manifest: Manifest) -> dict[str, list[Share]]:
    """Return the number and size of tensors in each state, by role."""
    return {
        state.name: Share.of(t for t in manifest.tensors if t.key.partition("/")[0] == state.name)
        for state in manifest.states
    }


def settings(values: Mapping[str, object]) -> str:
    """Return the hyperparameters that have a value, as text."""
    given = {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if value is not None
    }
    return "  ".join(f"{name}={text}" for name, text in given.items())


def anchor_words(anchor: AnchorEntry) -> str:
    """Return what a resume reads of an iterator, as text."""
    if not anchor.name:
        return f"{anchor.key}: {count(anchor.since, 'batch', 'batches')} to draw again"
    read = count(anchor.batches, "batch", "batches")
    return (
        f"{anchor.key}: its state after {read}, and {anchor.since} more to draw again "
        f"({anchor.name})"
    )


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
        "anchors": [
            {
                "name": anchor.name,
                "key": anchor.key,
                "batches": anchor.batches,
                "since": anchor.since,
            }
            for anchor in manifest.anchors
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
                metrics(checkpoint.metrics, most=len(checkpoint.metrics)) or "none",
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
            *(["data", anchor_words(anchor)] for anchor in manifest.anchors),
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
            # The size of a table, an iterator or a Python object is known only to the file.
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
