"""`load_weights`: loads saved weights of any format into a model, all or none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from ckptkit.compat import keras_models
from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.load.adapted_source import as_value
from ckptkit.load.formats import recognise
from ckptkit.load.opened_source import with_source
from ckptkit.load.weight_matching import NAME, ORDER, MatchPlan, match
from ckptkit.load.weight_source import WeightSource
from ckptkit.log import logger
from ckptkit.restore.adapted_restore import drop_traced_functions
from ckptkit.restore.leaf_assignment import assign_all, refresh_layer_constants
from ckptkit.restore.state_comparison import StateDifference, table
from ckptkit.tracking.leaves import Leaf, path_of
from ckptkit.tracking.reachable_objects import reachable
from ckptkit.tracking.replicated_leaf import variable_leaf
from ckptkit.tracking.state_check import check_built


@dataclass(frozen=True)
class LoadedWeight:
    """One weight of a model that `load_weights` has set, or what a layer has learnt (`adapt`).

    Args:
        name: the path of the model's weight, or the name of the layer.
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
        matched: the weights that were set, in the model's order, and then what layers have learnt.
        differences: the weights that were left unchanged, and why: `extra` (only the model has it),
            `missing` (only the source has it), `shape` and `dtype` (both have it, in different
            forms), `order` (the source has only an order, and other weights could have this place).
            Empty if everything matched.

    Example:
        >>> import ckptkit, keras, pathlib
        >>> path = pathlib.Path("model.weights.h5")
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
    without: Sequence[str] = (),
    averages: bool = False,
) -> WeightsReport:
    """Load saved weights of any format into a model.

    Weights are matched by structure (their place in the model), then by the names that you gave to
    layers. Automatic names (`dense_1`) never match. What preprocessing layers have learnt (`adapt`)
    is loaded as well. All weights are compared and read before the first one is assigned. The
    optimizer and random seeds do not change; use `ckptkit.load_model` to restore them as well.

    Args:
        model: a Keras model whose variables exist.
        source: a run directory, or one checkpoint in it; the prefix or the directory of a
            TensorFlow checkpoint; a `.keras`, `.weights.h5` or `.h5` file; a SavedModel; or a
            directory of SavedModel versions, of which the newest is read.
        step: the checkpoint of a run: a step, `"latest"` or `"best"`. The default is the newest
            good checkpoint. After the end of training these are the weights that training ended
            with (the best ones, or averages, if Keras set those). `"best"` gives the weights that
            the checkpoint's metric was measured with (averages, if `fit` evaluated those).
        strict: whether every weight of either side, and every vocabulary of the model, must have
            a match (default). If False, the matching ones are loaded, as for a model with a new
            head, and the report lists the others.
        name: the model to read, if the source holds several: its name in `state={...}` or in
            `tf.train.Checkpoint(...)`.
        without: patterns of paths of weights that the model keeps, and that need no match, such as
            `["head/*"]`. A pattern matches a path, or the end of a path after a slash.
        averages: whether to load the averages that the optimizer of a run kept (`use_ema`) instead
            of the weights.

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
        >>> path = pathlib.Path("model.weights.h5")
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
    if isinstance(without, str):
        raise ConfigError(
            f"without is a list of patterns, such as ['head/*']. Received: without={without!r}."
        )
    check_built("model", "load_weights(model, ...)", model)
    found = recognise(source)

    def plan_and_read(opened: WeightSource) -> tuple[WeightSource, MatchPlan, list[Any]]:
        plan = match(opened.live, opened.saved, keras_models.automatic_names(model))
        plan = plan.without(opened.live, opened.saved, tuple(without))
        _check(opened, plan, strict)
        return opened, plan, opened.read([pair.saved for pair in plan.pairs])

    opened, plan, values = with_source(found, model, step, name, plan_and_read, averages=averages)
    leaves: list[Leaf] = [
        *(variable_leaf(path_of(each), path_of(each), each.value) for each in model.weights),
        *opened.adapted,
    ]
    assign_all(
        [
            (leaves[pair.live], as_value(value))
            for pair, value in zip(plan.pairs, values, strict=True)
        ]
    )
    objects = reachable([model])
    changed = refresh_layer_constants(objects)
    if changed or any(pair.live >= len(model.weights) for pair in plan.pairs):
        # What was traced before has the old vocabularies as constants.
        drop_traced_functions(objects)
        if getattr(model, "train_function", None) is not None:
            model.make_train_function(force=True)
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
        if any(i is not None and j is None and source.live[i].words for i, j in plan.left):
            advice += (
                " What preprocessing layers have learnt is stored in runs and in .keras files; "
                "strict=False keeps what they have in the program."
            )
        if plan.pairs:
            advice += (
                " A layer that is new on purpose is left out by a pattern of its weights, as in "
                "without=['head/*']."
            )
        if any(difference.kind == ORDER for difference in plan.differences):
            advice = (
                "order: the source has only the order of these weights. Several layers of this "
                "model have the same form, so the order does not tell which is which. Load a run, "
                "a .keras or a .weights.h5 file instead, which store the place of each weight. An "
                ".h5 file also fits if you give these layers names. "
                + (
                    "strict=False loads the rest."
                    if plan.pairs
                    else "Nothing else matches, so strict=False does not help."
                )
            )
        raise IncompatibleStateError(
            f"The weights of the model differ from those of {source.where}. Nothing was "
            f"assigned.\n{table(plan.differences)}\n{advice}"
        )
