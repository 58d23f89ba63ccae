"""The saved weights of one model, compared and read, and not yet assigned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ckptkit.compat import keras_models
from ckptkit.errors import ConfigError, IncompatibleStateError
from ckptkit.load.adapted_source import as_value
from ckptkit.load.weight_matching import ORDER, MatchPlan, match_without, without_effect
from ckptkit.load.weight_source import WeightSource
from ckptkit.policies.warm_start import is_left_out
from ckptkit.restore.adapted_restore import drop_traced_functions
from ckptkit.restore.leaf_assignment import refresh_layer_constants
from ckptkit.restore.state_comparison import table
from ckptkit.tracking.leaves import Leaf, Tensors, path_of
from ckptkit.tracking.reachable_objects import reachable
from ckptkit.tracking.replicated_leaf import variable_leaf


@dataclass(frozen=True)
class MatchedWeights:
    """The saved weights for one model.

    Args:
        model: the model that gets them.
        source: the source, of which everything was read.
        plan: which saved weight each weight of the model gets.
        values: the values in the order of the plan.
        left_out: the paths of the model's weights that patterns leave out.
    """

    model: Any
    source: WeightSource
    plan: MatchPlan
    values: Sequence[Any]
    left_out: tuple[str, ...]

    def assignments(self) -> list[tuple[Leaf, Tensors]]:
        """Return the model's leaves with the values to assign."""
        weights = self.model.weights
        leaves: list[Leaf] = [
            *(variable_leaf(path_of(each), path_of(each), each.value) for each in weights),
            *self.source.adapted,
        ]
        return [
            (leaves[pair.live], as_value(value))
            for pair, value in zip(self.plan.pairs, self.values, strict=True)
        ]

    def finish(self) -> None:
        """Renew what the model derives from its weights, after the assignment."""
        objects = reachable([self.model])
        changed = refresh_layer_constants(objects)
        if changed or any(pair.live >= len(self.model.weights) for pair in self.plan.pairs):
            # What was traced before has the old vocabularies as constants.
            drop_traced_functions(objects)
            if getattr(self.model, "train_function", None) is not None:
                self.model.make_train_function(force=True)


def read_matching(
    source: WeightSource, model: Any, *, strict: bool, without: tuple[str, ...]
) -> MatchedWeights:
    """Match the weights of a source with those of a model, and read the values.

    Args:
        source: the opened source.
        model: the model.
        strict: whether every weight that is not left out must have a match.
        without: the patterns of weights that are left out.

    Raises:
        IncompatibleStateError: If weights do not match, with a table.
        ConfigError: If the patterns leave out all weights.
        CorruptCheckpointError, StorageError: If a value cannot be read.
    """
    names = keras_models.automatic_names(model)
    plan = match_without(source.live, source.saved, names, without)
    _check(source, plan, strict)
    if without and not plan.pairs:
        raise ConfigError(
            f"without={list(without)!r} leaves out every weight, so nothing of {source.where} "
            "would be loaded. Expected patterns of single layers, such as 'head/*'."
        )
    values = source.read([pair.saved for pair in plan.pairs])
    left_out = tuple(each.key for each in source.live if is_left_out(each.key, without))
    return MatchedWeights(model, source, plan, values, left_out)


def check_patterns(read: Iterable[MatchedWeights], patterns: tuple[str, ...]) -> None:
    """Check that each pattern leaves out a weight of a model or of its source.

    Args:
        read: all models for which the patterns are meant.
        patterns: the patterns.

    Raises:
        ConfigError: If a pattern matches nothing.
    """
    unused = [set(without_effect(each.source.live, each.source.saved, patterns)) for each in read]
    wrong = [each for each in patterns if all(each in those for those in unused)]
    if wrong:
        raise ConfigError(
            f"without has {wrong[0]!r}, which matches no weight of the model or of the source. "
            "Expected a pattern of a path such as 'head/*'. Nothing was assigned."
        )


def _check(source: WeightSource, plan: MatchPlan, strict: bool) -> None:
    """Check that everything matches, or with strict=False that something does."""
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
