"""Begins a new run with saved weights: `init_from`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from ckptkit.errors import ConfigError
from ckptkit.load.formats import Format, recognise
from ckptkit.load.leased_checkpoint import read_run
from ckptkit.load.matched_weights import MatchedWeights, check_patterns, read_matching
from ckptkit.load.opened_source import source_of_run, with_source
from ckptkit.load.source_arguments import check_arguments
from ckptkit.load.warm_optimizers import Assignments, check_new_optimizers, read_optimizers
from ckptkit.load.weight_loading import WeightsReport, report_of
from ckptkit.policies.warm_start import WarmStart
from ckptkit.restore.leaf_assignment import assign_all
from ckptkit.run.checkpoint_catalog import Checkpoint

_Place = tuple[str, int | str | None]


@dataclass(frozen=True)
class BegunModel:
    """What one model of a new run has got.

    Args:
        weights: the weights that were loaded.
        left_out: the paths of the model's weights that patterns left out.
        start: where they came from.
    """

    weights: WeightsReport
    left_out: tuple[str, ...]
    start: WarmStart


@dataclass(frozen=True)
class _Taken:
    weights: MatchedWeights
    optimizer: Assignments


def begin_from(
    given: WarmStart | Mapping[str, WarmStart], state: Mapping[str, Any]
) -> dict[str, BegunModel]:
    """Load the weights with which a run begins: everything that is named, or nothing.

    Args:
        given: the source for the only model of the state, or for all of its models; or a source by
            the name of each model.
        state: the objects of the program by name, which must be built.

    Returns:
        What was loaded, by the name of the model.

    Raises:
        ConfigError: If the state has no such model, or several and one source that is no run; if a
            pattern leaves out nothing; or if an optimizer has trained and would keep its state.
        IncompatibleStateError: If weights or optimizers do not match; nothing was assigned.
        CheckpointNotFoundError, CorruptCheckpointError, StorageError: As for `load_weights`.
    """
    models = {name: value for name, value in state.items() if isinstance(value, keras.Model)}
    starts = _by_model(given, models)
    check_new_optimizers(starts, state)
    places: dict[_Place, list[str]] = {}
    for name, start in starts.items():
        places.setdefault(_place(start), []).append(name)
    read: dict[str, _Taken] = {}
    for place, names in places.items():
        read |= _read_of_one(place, {name: starts[name] for name in names}, state)
    if isinstance(given, Mapping):
        for name, start in starts.items():
            check_patterns([read[name].weights], start.without)
    else:
        check_patterns([each.weights for each in read.values()], given.without)
    assign_all(
        [pair for each in read.values() for pair in (*each.weights.assignments(), *each.optimizer)]
    )
    for each in read.values():
        each.weights.finish()
    return {
        name: BegunModel(report_of(read[name].weights), read[name].weights.left_out, start)
        for name, start in starts.items()
    }


def _read_of_one(
    place: _Place, starts: Mapping[str, WarmStart], state: Mapping[str, Any]
) -> dict[str, _Taken]:
    """Compare and read what several models get of one source, from the same checkpoint."""
    source, step = place
    found = recognise(source)
    for start in starts.values():
        check_arguments(found, step, start.name, averages=start.averages)
        if start.optimizer and found.format is not Format.RUN:
            raise ConfigError(
                "optimizer=True takes the state of an optimizer from a run. Received: "
                f"{found.path} ({found.format}). Leave it out."
            )

    def read_all(checkpoint: Checkpoint) -> dict[str, _Taken]:
        read = {}
        for name, start in starts.items():
            opened = source_of_run(
                checkpoint, state[name], start.name, best=step == "best", averages=start.averages
            )
            weights = read_matching(opened, state[name], strict=True, without=start.without)
            optimizer = (
                read_optimizers(checkpoint, opened.state, name, state) if start.optimizer else []
            )
            read[name] = _Taken(weights, optimizer)
        return read

    if found.format is Format.RUN:
        return read_run(found, step, read_all)
    return {
        name: _Taken(
            with_source(
                found,
                state[name],
                step,
                start.name,
                lambda opened, model=state[name], start=start: read_matching(  # type: ignore[misc]
                    opened, model, strict=True, without=start.without
                ),
            ),
            [],
        )
        for name, start in starts.items()
    }


def _place(start: WarmStart) -> _Place:
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
