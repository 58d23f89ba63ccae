"""Rebuilds a Keras model from a run: its architecture, then the values of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.compat import keras_saving
from ckptkit.errors import (
    CheckpointNotFoundError,
    ConfigError,
    IncompatibleStateError,
)
from ckptkit.layout import RunLayout
from ckptkit.load.memory_guard import bounded
from ckptkit.load.model_building import building, refuse_code
from ckptkit.log import logger
from ckptkit.restore.adapted_restore import AdaptedRestore
from ckptkit.restore.assign import assign_state
from ckptkit.restore.state_comparison import compare, table
from ckptkit.run.architecture_file import load as load_architecture
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import StateEntry
from ckptkit.tracking.snapshot import describe_leaves
from ckptkit.tracking.state_check import ensure_built
from ckptkit.tracking.tracker import track

_MEASURED = "metrics"
"""The role of metrics' variables.

A compiled model creates them in its first batch, and each epoch resets them.
"""


def model_from_run(
    layout: RunLayout,
    checkpoint: Checkpoint,
    custom_objects: Mapping[str, Any] | None,
    name: str | None,
    *,
    best: bool = False,
) -> Any:
    """Rebuild a model from the architecture and the values in a run.

    Args:
        layout: the run.
        checkpoint: the checkpoint to read.
        custom_objects: the user's own classes and functions, by name.
        name: the model's name in the state, or None for the only one.
        best: whether the checkpoint was chosen by a metric; see `weights_of`.

    Raises:
        ConfigError, CheckpointNotFoundError, CorruptCheckpointError, IncompatibleStateError: As for
            `load_model`.
    """
    entry = _entry(checkpoint, name)
    weights = (
        "Build the model with its code, and call "
        f"ckptkit.load_weights(model, {str(layout.root)!r})."
    )
    if not isinstance(entry.architecture, str):
        raise ConfigError(
            f"{checkpoint.path} does not store the architecture of its model {entry.name!r} "
            f"({entry.class_name}): an earlier version of ckptkit saved it, or it could not be "
            f"stored. {weights}"
        )
    architecture = load_architecture(layout, entry.architecture)
    if architecture.config is None:
        raise ConfigError(
            f"The model {entry.name!r} ({entry.class_name}) of {layout.root} cannot be built from "
            f"data alone: {architecture.reason}. {weights}"
        )
    saved = [
        tensor
        for tensor in checkpoint.manifest.tensors
        if tensor.key.partition("/")[0] == entry.name and tensor.role != _MEASURED
    ]
    path = layout.architecture / entry.architecture
    with building(path), bounded(path, (tensor.size_bytes for tensor in saved)):
        refuse_code(path, architecture.config)
        model = keras_saving.deserialized_model(architecture.config, custom_objects)
        ensure_built({entry.name: model})
    # Before the state is compared: a vocabulary brings variables of its own.
    AdaptedRestore().apply(checkpoint, track({entry.name: model}), quiet=True)
    tracked = track({entry.name: model})
    live = [tensor for tensor in describe_leaves(tracked.leaves) if tensor.role != _MEASURED]
    differences = compare([entry], saved, tracked.states, live)
    if differences:
        raise IncompatibleStateError(
            f"The state of the model rebuilt from {path} differs from "
            f"{checkpoint.path}.\n{table(differences)}\n"
            "If a class in custom_objects has changed, restore it; or build the model with its "
            "code."
        )
    assign_state(checkpoint, tracked, saved, best=best)
    logger.info(
        "rebuilt %s from %s, %s",
        architecture.class_name,
        checkpoint.path,
        checkpoint.manifest.position,
    )
    return model


def _entry(checkpoint: Checkpoint, name: str | None) -> StateEntry:
    """Return the entry of the state that contains the model.

    Raises:
        ConfigError: If several entries are models and none was named.
        CheckpointNotFoundError: If no entry is a model, or none has that name.
    """
    tensors = checkpoint.manifest.tensors
    models = {
        state.name: state
        for state in checkpoint.manifest.states
        if state.architecture
        or any(tensor.key.startswith(f"{state.name}/weights/") for tensor in tensors)
    }
    known = ", ".join(map(repr, models)) or "none"
    if name is not None and name not in models:
        raise CheckpointNotFoundError(
            f"{checkpoint.path} holds no model {name!r}. Expected one of: {known}."
        )
    if name is None and len(models) != 1:
        if not models:
            raise CheckpointNotFoundError(
                f"{checkpoint.path} contains no Keras model. The training did not pass one in "
                "`state`. Choose a run that saved a model."
            )
        raise ConfigError(
            f"{checkpoint.path} contains several models ({known}). Name one, as in "
            f"name={next(iter(models))!r}."
        )
    return models[name] if name is not None else next(iter(models.values()))
