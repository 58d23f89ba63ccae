"""load_weights: a model's weights from any format, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import tensorflow as tf

from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.load import checkpoint_weights, keras_files
from ckptkit.load.formats import Format, FoundFormat, newest_version, recognise
from ckptkit.load.leased_checkpoint import read_run
from ckptkit.load.weight_matching import NAME, MatchPlan, match
from ckptkit.load.weight_source import WeightSource
from ckptkit.log import logger
from ckptkit.restore.assign import assign_all, refresh_layer_constants
from ckptkit.restore.state_comparison import StateDifference, table
from ckptkit.tracking.leaves import VariableLeaf
from ckptkit.tracking.state_check import check_built
from ckptkit.tracking.tracker import path_of

T = TypeVar("T")


@dataclass(frozen=True)
class LoadedWeight:
    """A weight that has got its value.

    Args:
        name: of the model's weight.
        source: what it was read by.
        by: `structure` (its place in the model) or `name`.
    """

    name: str
    source: str
    by: str


@dataclass(frozen=True)
class WeightsReport:
    """What `load_weights` has done; printed, it is a summary in words.

    Args:
        source: what was read.
        matched: the weights that have got a value, in the model's order.
        differences: what was left as it was, and why: `extra` (only the model has it), `missing`
            (only the source has it), `shape` and `dtype` (both have it, in other forms). Empty
            where everything matched.

    Example:
        >>> import ckptkit, keras, pathlib
        >>> path = pathlib.Path(new_directory) / "model.weights.h5"
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.save_weights(path)
        >>> report = ckptkit.load_weights(model, path)
        >>> report.matched[0].source, report.matched[0].by, len(report.differences)
        ('layers/dense/vars/0', 'structure', 0)
    """

    source: str
    matched: tuple[LoadedWeight, ...]
    differences: tuple[StateDifference, ...]

    def __str__(self) -> str:
        by_name = sum(each.by == NAME for each in self.matched)
        text = f"{len(self.matched)} weights from {self.source}" + (
            f", {by_name} of them by name" if by_name else ""
        )
        return (
            text
            if not self.differences
            else f"{text}; these did not match:\n{table(self.differences)}"
        )


def load_weights(
    model: Any,
    source: str | os.PathLike[str],
    step: int | str | None = None,
    strict: bool = True,
    *,
    name: str | None = None,
) -> WeightsReport:
    """Gives a model the weights that were saved, from whatever format they are in.

    Weights are matched by structure (their place in the model), then by name. Everything is
    compared and read before the first is assigned. The optimizer is not touched;
    `ckptkit.load_model` brings it back, too.

    Args:
        model: a Keras model with its variables made.
        source: a run directory, or one checkpoint in it; the prefix or the directory of a
            TensorFlow checkpoint; a `.keras`, `.weights.h5` or `.h5` file; a SavedModel, or a
            directory of its versions, of which the newest counts.
        step: of a run: a step, `"latest"` or `"best"`. By default its newest good checkpoint. At
            the end of training these are the weights that training ended with (the best ones, or
            averages, where Keras put those in their place).
        strict: whether every weight of either side has to have its match (default). With False,
            those that match are loaded, as for a model with a new head, and the report says which
            did not.
        name: where the source holds several models: which, by its name in `state={...}`, or in
            `tf.train.Checkpoint(...)`.

    Returns:
        A report of what matched, what did not, and why.

    Raises:
        IncompatibleStateError: where something does not match, with a table of it; with
            `strict=False` only where nothing matches. Nothing was assigned.
        CheckpointNotFoundError: where nothing is there, or not what was asked for.
        CorruptCheckpointError: where it cannot be read, or holds something that is not to be
            believed. Nothing was assigned.
        ConfigError: where an argument cannot be right, or the model has no variables yet.
        StorageError: where the system refuses to read.

    Example:
        >>> import ckptkit, keras, pathlib
        >>> path = pathlib.Path(new_directory) / "model.weights.h5"
        >>> keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)]).save_weights(path)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(3)])
        >>> report = ckptkit.load_weights(model, path, strict=False)
        >>> len(report.matched), [difference.kind for difference in report.differences]
        (2, ['shape', 'shape'])
    """
    if not isinstance(model, keras.Model):
        raise ConfigError(
            f"load_weights takes a Keras model first. Received: {type(model).__name__}."
        )
    if not isinstance(strict, bool):
        raise ConfigError(f"strict is True or False. Received: strict={strict!r}.")
    check_built("model", "load_weights(model, ...)", model)
    found = recognise(source)

    def plan_and_read(opened: WeightSource) -> tuple[WeightSource, MatchPlan, list[Any]]:
        plan = match(opened.live, opened.saved)
        _check(opened, plan, strict)
        return opened, plan, opened.read([pair.saved for pair in plan.pairs])

    opened, plan, values = _with_source(found, model, step, name, plan_and_read)
    weights = list(model.weights)
    chosen = [
        VariableLeaf(
            opened.live[pair.live].key, path_of(weights[pair.live]), weights[pair.live].value
        )
        for pair in plan.pairs
    ]
    assign_all(
        [
            (leaf, {"": tf.convert_to_tensor(value)})
            for leaf, value in zip(chosen, values, strict=True)
        ]
    )
    refresh_layer_constants([model])
    matched = tuple(
        LoadedWeight(opened.live[pair.live].key, opened.saved[pair.saved].key, pair.by)
        for pair in plan.pairs
    )
    report = WeightsReport(opened.where, matched, plan.differences)
    logger.info("loaded %s", report)
    return report


def _check(source: WeightSource, plan: MatchPlan, strict: bool) -> None:
    if plan.differences and (strict or not plan.pairs):
        advice = (
            "Build the model as it was when that was saved; or load what matches, with "
            "strict=False."
            if plan.pairs
            else "Nothing of it matches this model."
        )
        raise IncompatibleStateError(
            f"The model has other weights than {source.where}. Nothing was "
            f"assigned.\n{table(plan.differences)}\n{advice}"
        )


def _with_source(
    found: FoundFormat,
    model: Any,
    step: int | str | None,
    name: str | None,
    action: Callable[[WeightSource], T],
) -> T:
    """Calls a function with the weights that were found, while their files are open and stay."""
    check_arguments(found, step, name)
    if found.format is Format.RUN:
        return read_run(
            found,
            step,
            lambda checkpoint: action(checkpoint_weights.of_run(checkpoint, model, name)),
        )
    if found.format is Format.CHECKPOINT:
        return action(checkpoint_weights.of_tensorflow(found.path, model, name))
    if found.format in (Format.SAVED_MODEL, Format.VERSIONS):
        return action(checkpoint_weights.of_saved_model(newest_version(found), model, name))
    with keras_files.opened(found.path, model) as source:
        return action(source)


def check_arguments(found: FoundFormat, step: int | str | None, name: str | None) -> None:
    """Checks that `step` and `name` are given only where they mean something.

    Raises:
        ConfigError: where not.
    """
    if step is not None and not (
        step in ("latest", "best")
        or (isinstance(step, int) and not isinstance(step, bool) and step >= 0)
    ):
        raise ConfigError(f"step is a number, 'latest' or 'best'. Received: step={step!r}.")
    if step is not None and (found.format is not Format.RUN or found.step is not None):
        one = (
            f"{found.path} is a {found.format}"
            if found.step is None
            else "the path names one checkpoint of a run already"
        )
        raise ConfigError(
            f"step chooses a checkpoint of a run, and {one}. Received: step={step!r}; leave it out."
        )
    if name is not None and found.format in (Format.KERAS, Format.HDF5):
        raise ConfigError(
            f"name chooses one of several models, and {found.path}, a {found.format}, holds one. "
            f"Received: name={name!r}; leave it "
            f"out."
        )
