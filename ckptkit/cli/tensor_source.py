"""Opens the checkpoint, model or weights that an argument names, to read tensors and facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptkit.cli.path_target import RunTarget, Target
from ckptkit.load import checkpoint_facts
from ckptkit.load.checkpoint_facts import Facts
from ckptkit.load.cpu_only import hide_gpus
from ckptkit.load.tensor_list import Tensor, of_manifest

if TYPE_CHECKING:
    from ckptkit.load.tensor_values import Contents

RUN = "run"
"""The format of a checkpoint of a run; other formats have names in words."""


@dataclass(frozen=True)
class TensorSource:
    """An open checkpoint, model or file of weights.

    Args:
        format: `run`, or the name of another format.
        path: the checkpoint's directory, the file, or the prefix of a TensorFlow checkpoint.
        checkpoint: the name of the checkpoint of a run; else None.
        step: the step of the checkpoint of a run; else None.
        tensors: all tensors, in the order of the file.
        facts: position, hyperparameters, versions and classes, as far as the format has them.
        contents: reads the values while the source is open; None if values were not asked for.
    """

    format: str
    path: str
    checkpoint: str | None
    step: int | None
    tensors: Sequence[Tensor]
    facts: Facts
    contents: Contents | None

    def as_json(self) -> dict[str, object]:
        """Return the fields that `tensors` and `diff` print about a source."""
        return {
            "format": self.format,
            "path": self.path,
            "checkpoint": self.checkpoint,
            "step": self.step,
        }


@contextmanager
def open_tensor_source(target: Target, *, with_values: bool) -> Iterator[TensorSource]:
    """Open what an argument names. Imports TensorFlow for values, and for anything but a run.

    Args:
        target: what the argument names.
        with_values: whether values will be read.

    Returns:
        A context manager. Training keeps the checkpoint while the block runs.

    Raises:
        CheckpointNotFoundError: If the target does not exist.
        CorruptCheckpointError: If the target is damaged.
        ConfigError: If a version was named, and the target has no versions.
        StorageError: If the system refuses to read.
    """
    if isinstance(target, RunTarget):
        # The lease has to be in place before the manifest is read.
        with target.leased() as checkpoint:
            contents = None
            if with_values:
                hide_gpus()
                from ckptkit.load.tensor_values import of_run

                contents = of_run(checkpoint)
            yield TensorSource(
                RUN,
                str(checkpoint.path),
                str(checkpoint.name),
                checkpoint.step,
                of_manifest(checkpoint.manifest),
                checkpoint_facts.of_manifest(checkpoint.manifest),
                contents,
            )
        return
    hide_gpus()
    from ckptkit.load.tensor_values import of_files

    with of_files(target.found, target.version) as contents:
        about = contents.about
        assert about is not None
        facts = Facts(
            classes={"model": about.model} if about.model else {}, versions=dict(about.versions)
        )
        yield TensorSource(
            str(about.format), str(about.path), None, None, contents.tensors, facts, contents
        )
