"""`load_weights`: loads saved weights of any format into a model, all or none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from ckptkit.errors import ConfigError
from ckptkit.load.formats import recognise
from ckptkit.load.matched_weights import MatchedWeights, check_patterns, read_matching
from ckptkit.load.opened_source import with_source
from ckptkit.load.weight_matching import NAME
from ckptkit.log import logger
from ckptkit.restore.leaf_assignment import assign_all
from ckptkit.restore.state_comparison import StateDifference, table
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
            `["head/*"]`. A pattern matches a path, or the end of a path after a slash, of the
            model or of the source. Left out is what matches, before the others are matched.
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
        ConfigError: If an argument is invalid, the model has no variables yet, or a pattern of
            `without` matches no weight.
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

    read = with_source(
        found,
        model,
        step,
        name,
        lambda opened: read_matching(opened, model, strict=strict, without=tuple(without)),
        averages=averages,
    )
    check_patterns([read], tuple(without))
    assign_all(read.assignments())
    read.finish()
    report = report_of(read)
    logger.info("loaded %s", report)
    return report


def report_of(read: MatchedWeights) -> WeightsReport:
    """Return the report of weights that were assigned."""
    live, saved = read.source.live, read.source.saved
    return WeightsReport(
        read.source.where,
        tuple(
            LoadedWeight(live[pair.live].key, saved[pair.saved].key, pair.by)
            for pair in read.plan.pairs
        ),
        read.plan.differences,
    )
