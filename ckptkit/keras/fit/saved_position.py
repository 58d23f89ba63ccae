"""Writes and reads the position in `fit` in a checkpoint, with its own format version."""

from __future__ import annotations

from typing import Any

from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.keras.fit.fit_position import FitPosition
from ckptkit.restore.assign import read_python_state
from ckptkit.run.checkpoint_catalog import Checkpoint

KEY = "fit/state/0"
"""The key under which a checkpoint stores the position in `fit` and the callbacks' state."""

VERSION = 1
"""The version of this format.

A reader skips unknown entries, so a new entry needs no new version. A larger number means a format
that this reader would misread.
"""


def position_to_state(position: FitPosition) -> dict[str, Any]:
    """Return the entries that describe a position in a checkpoint."""
    return {"version": VERSION, "place": position.to_state()}


def read_position(checkpoint: Checkpoint, per_call: int) -> FitPosition:
    """Read the position of a checkpoint's `fit`.

    Args:
        checkpoint: the checkpoint to resume from.
        per_call: the current number of batches in a call of the train function.

    Raises:
        ConfigError: If the checkpoint was not written from `fit`, or no call of that size ends at
            its position.
        IncompatibleStateError: If a later version wrote it.
        CorruptCheckpointError: If it cannot be read.
    """
    state = read_python_state(checkpoint, KEY)
    if state is None:
        raise ConfigError(
            f"{checkpoint.path} was not written from model.fit, so it has no position in fit to "
            "resume from. Continue with the loop that wrote it, or start another run with its "
            "weights."
        )
    # Checkpoints of the first versions name no version.
    if state.get("version", 1) > VERSION:
        raise IncompatibleStateError(
            f"{checkpoint.path} stores its position in fit in format version {state['version']}, "
            f"and this ckptkit reads up to version {VERSION}. Install the version of ckptkit that "
            "wrote it, or a later one."
        )
    position = FitPosition.from_state(state["place"]).with_per_call(per_call)
    if position is None:
        raise ConfigError(
            f"steps_per_execution was {state['place']['per_call']} and is {per_call} now, and the "
            f"checkpoint is at batch {checkpoint.manifest.batch}: no call of that size ends there. "
            "Restore the earlier value until the end of this epoch."
        )
    return position
