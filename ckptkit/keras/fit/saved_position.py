"""The place in `fit` as a checkpoint holds it: its form has a version of its own."""

from __future__ import annotations

from typing import Any

from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.keras.fit.fit_position import FitPosition
from ckptkit.restore.assign import read_python_state
from ckptkit.run.catalog import Checkpoint

KEY = "fit/state/0"
"""The key of what `fit` keeps beside the model."""

VERSION = 1
"""A reader skips what it does not know; a larger number is for a form that it cannot read."""


def place_state(place: FitPosition) -> dict[str, Any]:
    """A place for a checkpoint."""
    return {"version": VERSION, "place": place.to_state()}


def read_place(checkpoint: Checkpoint, per_call: int) -> FitPosition:
    """Where a checkpoint's `fit` was.

    Args:
        checkpoint: which.
        per_call: batches in a call of the train function now.

    Raises:
        ConfigError: where the checkpoint was not written from `fit`, or a call of so many batches
            does not end there.
        IncompatibleStateError: where a later version wrote it.
        CorruptCheckpointError: where it cannot be read.
    """
    state = read_python_state(checkpoint, KEY)
    if state is None:
        raise ConfigError(
            f"{checkpoint.path} was not written from model.fit, so it does not say where fit goes "
            "on. Go on with the loop that "
            f"wrote it, or begin another run with its weights."
        )
    if state.get("version", 1) > VERSION:
        raise IncompatibleStateError(
            f"{checkpoint.path} has a place in fit of version {state['version']}, and this "
            "ckptkit reads versions up to "
            f"{VERSION}. Install the version of ckptkit that wrote it, or a later one."
        )
    place = FitPosition.from_state(state["place"]).with_per_call(per_call)
    if place is None:
        raise ConfigError(
            f"steps_per_execution was {state['place']['per_call']} and is {per_call} now, and the "
            "checkpoint is at batch "
            f"{checkpoint.manifest.batch}, where no call of that size ends. Put the value back "
            "for this epoch."
        )
    return place
