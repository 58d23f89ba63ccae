"""What an argument names, opened: its tensors, what it says of itself, and, where they are wanted,
values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptkit.cli.path_arguments import InRun, Target
from ckptkit.load import checkpoint_facts
from ckptkit.load.checkpoint_facts import Facts
from ckptkit.load.cpu_only import hide_gpus
from ckptkit.load.tensor_list import Tensor, of_manifest

if TYPE_CHECKING:
    from ckptkit.load.tensor_values import Contents

RUN = "run"
"""The format of a checkpoint of a run; others have theirs in words."""


@dataclass(frozen=True)
class OpenedTarget:
    """A checkpoint, a model or weights.

    Args:
        format: `run`, or in words what else it is.
        path: what was looked at: the checkpoint's directory, the file, the prefix of TensorFlow's.
        checkpoint: of a run, the name of the checkpoint; else None.
        step: likewise its step.
        tensors: all of them, in the order of the file.
        facts: what it says of itself.
        contents: the values, where those are wanted; may be read while it is open.
    """

    format: str
    path: str
    checkpoint: str | None
    step: int | None
    tensors: Sequence[Tensor]
    facts: Facts
    contents: Contents | None

    def as_json(self) -> dict[str, object]:
        """What was looked at, as `tensors` and `diff` have it."""
        return {
            "format": self.format,
            "path": self.path,
            "checkpoint": self.checkpoint,
            "step": self.step,
        }


@contextmanager
def opening(found: Target, *, with_values: bool) -> Iterator[OpenedTarget]:
    """Opens what was named. Imports TensorFlow where values are wanted, and where it is no run.

    Args:
        found: what was named.
        with_values: whether values will be read.

    Returns:
        A context manager; what it gives is open, and kept by training, while the block runs.

    Raises:
        CheckpointNotFoundError: where it is not there.
        CorruptCheckpointError: where it cannot be read.
        ConfigError: where a version was named, and there are none.
        StorageError: where the system refuses to read.
    """
    if isinstance(found, InRun):
        with found.held() as checkpoint:
            contents = None
            if with_values:
                hide_gpus()
                from ckptkit.load.tensor_values import of_run

                contents = of_run(checkpoint)
            yield OpenedTarget(
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

    with of_files(found.found, found.version) as contents:
        about = contents.about
        assert about is not None
        said = Facts(
            classes={"model": about.model} if about.model else {}, versions=dict(about.versions)
        )
        yield OpenedTarget(
            str(about.format), str(about.path), None, None, contents.tensors, said, contents
        )
