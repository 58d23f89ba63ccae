"""Compares the settings of layers in the code with those in the run's architecture file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
from msgspec import UNSET

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.restore.layer_comparison import LayerValues, compare_layers
from ckptkit.restore.state_comparison import compare
from ckptkit.run import architecture_file
from ckptkit.run.architecture_file import LayerSettings
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import WEIGHTS
from ckptkit.session.options import RunOptions
from ckptkit.tracking.layer_settings import begin_with_layers, remember_layers
from ckptkit.tracking.snapshot import describe_leaves
from ckptkit.tracking.tracker import Tracked

_COMPLETE = (WEIGHTS, "seeds")
"""The roles of variables that exist as soon as a model is built."""


def changed_layers(
    options: RunOptions, checkpoint: Checkpoint | None, tracked: Callable[[], Tracked]
) -> LayerValues:
    """Compare the layers of each model in the state with those of the run.

    Args:
        options: the options of the run.
        checkpoint: the checkpoint from which the run continues, or None for a new run.
        tracked: returns the leaves of the live state.
    """
    models = _models_in(options.state)
    found = []
    for name, model in models.items():
        now = begin_with_layers(model)
        stored = _stored_layers(options.layout, checkpoint, name)
        compared = functools.partial(
            compare_layers,
            now=now,
            model=name,
            prefix=f"{name}/" if len(models) > 1 else "",
            complete=bool(model.built),
        )
        values = compared(stored or now)
        # The comparison of the state reports a mismatch, with a table of all differences. To look
        # for one takes as long as that comparison, so it is done only for differences.
        if (
            values.then
            and checkpoint is not None
            and model.built
            and _has_another_form(checkpoint, name, tracked())
        ):
            values = compared(now)
        found.append(values)
    return LayerValues(
        {name: value for each in found for name, value in each.then.items()},
        {name: value for each in found for name, value in each.now.items()},
        frozenset(name for each in found for name in each.names),
    )


def remember_layer_settings(state: Mapping[str, Any]) -> None:
    """Remember the current settings of all layers, for a later attempt in this process."""
    for model in _models_in(state).values():
        remember_layers(model)


def _models_in(state: Mapping[str, Any]) -> dict[str, keras.Model]:
    """Return the models of a state whose architectures are stored, by name; each once."""
    found: dict[int, tuple[str, keras.Model]] = {}
    for name, value in state.items():
        if isinstance(value, keras.Model):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _stored_layers(
    layout: RunLayout, checkpoint: Checkpoint | None, name: str
) -> tuple[LayerSettings, ...]:
    """Return the layers of a model in a run, or nothing if they are not stored."""
    states = checkpoint.manifest.states if checkpoint is not None else ()
    file = next((entry.architecture for entry in states if entry.name == name), UNSET)
    if file is UNSET:
        return ()
    try:
        return architecture_file.load(layout, file).layers
    # The state is restored without it.
    except (CorruptCheckpointError, StorageError) as error:
        logger.warning(
            "settings of layers (rates, activations) are not compared with those of the run: %s",
            error,
        )
        return ()


def _has_another_form(checkpoint: Checkpoint, name: str, tracked: Tracked) -> bool:
    """Whether a built model has other weights than a checkpoint, or other random layers."""
    manifest = checkpoint.manifest
    live = describe_leaves(
        leaf for leaf in tracked.leaves if leaf.key.startswith(_complete_roles(name))
    )
    saved = [entry for entry in manifest.tensors if entry.key.startswith(_complete_roles(name))]
    states, now = (
        [entry for entry in entries if entry.name == name]
        for entries in (manifest.states, tracked.states)
    )
    return bool(compare(states, saved, now, live))


def _complete_roles(name: str) -> tuple[str, ...]:
    return tuple(f"{name}/{role}/" for role in _COMPLETE)
