"""Writes TensorFlow's own list of checkpoints, for `tf.train.latest_checkpoint`.

It is for plain TensorFlow code; ckptkit itself never reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.storage.files import FileSystem


def state_file_content(names: Sequence[CheckpointName]) -> bytes:
    """Return the content of TensorFlow's `checkpoint` file for checkpoints, oldest first."""
    if not names:
        return b""
    lines = [f'model_checkpoint_path: "{names[-1]}/{names[-1].prefix}"']
    lines += [f'all_model_checkpoint_paths: "{name}/{name.prefix}"' for name in names]
    return ("\n".join(lines) + "\n").encode()


def write_state_file(files: FileSystem, layout: RunLayout, names: Sequence[CheckpointName]) -> None:
    """Write the file for all current checkpoints of a run.

    Raises:
        StorageError: If it cannot be written.
    """
    files.replace_content(layout.state_file, state_file_content(names))
