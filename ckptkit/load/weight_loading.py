"""`load_weights`: loads saved weights of any format into a model, all or none."""

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
from ckptkit.position import whole_number
from ckptkit.restore.assign import assign_all, refresh_layer_constants
from ckptkit.restore.state_comparison import StateDifference, table
from ckptkit.tracking.leaves import VariableLeaf, path_of
from ckptkit.tracking.state_check import check_built

T = TypeVar("T")


@dataclass(frozen=True)
class LoadedWeight:
    """A weight of a model that `load_weights` has set.

    Args:
        name: the path of the model's weight.
        source: the key under which the value was read.
        by: how it was matched: `structure` (the place in the model) or `name`.
    """

    name: str
    source: str
    by: str


@dataclass(frozen=True)
class WeightsReport:
    """The result of `load_weights`; printed, it is a summary in words.

    Args:
        source: the file, checkpoint or run that was read.
        matched: the weights that were set, in the model's order.
        differences: the weights that were not set, with the reason: `extra` (only the model has
            it), `missing` (only the source has it), `shape` or `dtype` (they differ). Empty if all
            weights matched.

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
    """Load saved weights of any format into a model.

    Weights are matched by structure (their place in the model), then by name. All weights are
    compared and read before the first one is assigned. The optimizer does not change; use
    `ckptkit.load_model` to restore it as well.

    Args:
        model: a Keras model whose variables exist.
        source: a run directory, or one checkpoint in it; the prefix or the directory of a
            TensorFlow checkpoint; a `.keras`, `.weights.h5` or `.h5` file; a SavedModel; or a
            directory of SavedModel versions, of which the newest is read.
        step: the checkpoint of a run: a step, `"latest"` or `"best"`. The default is the newest
            good checkpoint. After the end of training these are the final weights (the best ones or
            averages, if Keras set those).
        strict: whether every weight on both sides must match (default). If False, only matching
            weights are loaded, for example into a model with a new head, and the report lists the
            others.
        name: the model to read, if the source holds several: its name in `state={...}` or in
            `tf.train.Checkpoint(...)`.

    Returns:
        A report of the weights that matched, those that did not, and why.

    Raises:
        IncompatibleStateError: If weights do not match, with a table of them; with `strict=False`
            only if no weight matches. Nothing was assigned.
        CheckpointNotFoundError: If the source, the checkpoint or the model in it does not exist.
        CorruptCheckpointError: If the source cannot be read or has implausible contents. Nothing
            was assigned.
        ConfigError: If an argument is invalid, or the model has no variables yet.
        StorageError: If the system refuses to read.

    Example:
        >>> import ckptkit, keras, pathlib
        >>> from keras.layers import Dense
        >>> path = pathlib.Path(new_directory) / "model.weights.h5"
        >>> keras.Sequential([keras.Input((4,)), Dense(8), Dense(2)]).save_weights(path)
        >>> model = keras.Sequential([keras.Input((4,)), Dense(8), Dense(3)])
        >>> report = ckptkit.load_weights(model, path, strict=False)
        >>> len(report.matched), [difference.kind for difference in report.differences]
        (2, ['shape', 'shape'])
    """
    if not isinstance(model, keras.Model):
        raise ConfigError(
            f"load_weights takes a Keras model first. Received: {type(model).__name__}."
        )
    if not isinstance(strict, bool):
        raise ConfigError(f"Expected strict=True or strict=False. Received: strict={strict!r}.")
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
            "Build the model as it was when the weights were saved; or load only what matches, "
            "with strict=False."
            if plan.pairs
            else "None of its weights matches this model."
        )
        raise IncompatibleStateError(
            f"The weights of the model differ from those of {source.where}. Nothing was "
            f"assigned.\n{table(plan.differences)}\n{advice}"
        )


def _with_source(
    found: FoundFormat,
    model: Any,
    step: int | str | None,
    name: str | None,
    action: Callable[[WeightSource], T],
) -> T:
    """Call a function with the source, whose files stay open and are not deleted meanwhile."""
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
    """Check that `step` and `name` are given only for formats that have them.

    Raises:
        ConfigError: If an argument does not apply or is invalid.
    """
    if isinstance(step, str):
        known = step in ("latest", "best")
    else:
        number = whole_number(step)
        known = step is None or (number is not None and number >= 0)
    if not known:
        raise ConfigError(f"step is a number, 'latest' or 'best'. Received: step={step!r}.")
    if step is not None and (found.format is not Format.RUN or found.step is not None):
        one = (
            f"{found.path} is a {found.format}"
            if found.step is None
            else "the path already names one checkpoint of a run"
        )
        raise ConfigError(
            f"step chooses a checkpoint of a run, and {one}. Received: step={step!r}; leave it out."
        )
    if name is not None and found.format in (Format.KERAS, Format.HDF5):
        raise ConfigError(
            f"name chooses one of several models, and {found.path}, a {found.format}, holds one. "
            f"Received: name={name!r}; leave it out."
        )
