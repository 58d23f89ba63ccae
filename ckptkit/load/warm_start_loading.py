"""Begins a new run with saved weights: `init_from`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import keras

from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.load.formats import Format, recognise
from ckptkit.load.leased_checkpoint import read_run
from ckptkit.load.weight_loading import WeightsReport, load_weights
from ckptkit.policies.warm_start import WarmStart
from ckptkit.restore.assign import assign_state
from ckptkit.restore.state_comparison import compare, table
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import OPTIMIZER
from ckptkit.tracking.snapshot import describe_leaves
from ckptkit.tracking.tracker import track

_RATE = "learning_rate"


def begin_from(
    given: WarmStart | Mapping[str, WarmStart], state: Mapping[str, Any]
) -> dict[str, WeightsReport]:
    """Load the weights with which a run begins.

    Args:
        given: the source for the only model of the state, or for all of its models; or a source by
            the name of each model.
        state: the objects of the program by name, which must be built.

    Returns:
        What was loaded, by the name of the model.

    Raises:
        ConfigError: If the state has no such model, or several and one source that is no run.
        IncompatibleStateError: If weights do not match; nothing of that model was assigned.
        CheckpointNotFoundError, CorruptCheckpointError, StorageError: As for `load_weights`.
    """
    models = {name: value for name, value in state.items() if isinstance(value, keras.Model)}
    starts = _by_model(given, models)
    reports = {}
    for name, start in starts.items():
        source, step = _place(start)
        reports[name] = load_weights(
            models[name],
            source,
            step,
            name=start.name,
            without=start.without,
            averages=start.averages,
        )
        if start.optimizer:
            _load_optimizers(source, step, state)
    return reports


def _place(start: WarmStart) -> tuple[str, int | str | None]:
    """Return the path and the checkpoint; a path that exists as it is has no checkpoint in it."""
    whole = os.fsdecode(start.source)
    return (whole, None) if os.path.lexists(whole) else start.checkpoint


def _by_model(
    given: WarmStart | Mapping[str, WarmStart], models: Mapping[str, Any]
) -> dict[str, WarmStart]:
    known = ", ".join(map(repr, models)) or "none"
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in models]
        if unknown:
            raise ConfigError(
                f"init_from names {unknown[0]!r}, which is no Keras model in state. Expected names "
                f"of: {known}."
            )
        return dict(given)
    if len(models) == 1:
        return dict.fromkeys(models, given)
    if not models:
        raise ConfigError(
            "init_from gives weights to Keras models, and state has none. Restore other objects "
            "yourself before the run begins."
        )
    source, _ = _place(given)
    if given.name is not None or recognise(source).format is not Format.RUN:
        one = next(iter(models))
        raise ConfigError(
            f"state has several models ({known}), and init_from names one source for them. Name a "
            f"source for each, as in init_from={{{one!r}: {os.fsdecode(given.source)!r}}}."
        )
    return {
        name: WarmStart(given.source, name, given.without, given.averages, given.optimizer)
        for name in models
    }


def _load_optimizers(source: str, step: int | str | None, state: Mapping[str, Any]) -> None:
    """Assign the state of all optimizers, without their learning rates.

    Raises:
        ConfigError: If the source is no run.
        IncompatibleStateError: If they differ; nothing was assigned to them.
    """
    found = recognise(source)
    if found.format is not Format.RUN:
        raise ConfigError(
            f"optimizer=True takes the state of an optimizer from a run. Received: {found.path} "
            f"({found.format}). Leave it out."
        )

    def load(checkpoint: Checkpoint) -> None:
        tracked = track(state)
        saved = [each for each in checkpoint.manifest.tensors if each.role == OPTIMIZER]
        live = [each for each in describe_leaves(tracked.leaves) if each.role == OPTIMIZER]
        names = {each.key.partition("/")[0] for each in (*saved, *live)}
        differences = compare(
            [each for each in checkpoint.manifest.states if each.name in names],
            saved,
            [each for each in tracked.states if each.name in names],
            live,
        )
        if differences:
            raise IncompatibleStateError(
                f"The optimizers of the program differ from those of {checkpoint.path}, so their "
                f"state cannot be taken over.\n{table(differences)}\n"
                "Begin with a new optimizer: leave out optimizer=True."
            )
        assign_state(checkpoint, tracked, [each for each in saved if not each.path.endswith(_RATE)])

    read_run(found, step, load)
