"""Whether smaller or larger values of a metric are better: as Keras infers it, or as it is given.

Every "best" asks here: save policies, keep policies, exports, and looking for a checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Self, cast

from ckptkit.errors import ConfigError
from ckptkit.policies.metric_order import Mode

ModeOrAuto = Literal["min", "max", "auto"]
"""A direction, or `"auto"` for the one that is known for the metric."""

Directions = Mapping[str, Mode]
"""The directions of metrics that a program defines itself, by name."""

# The names and the directions are those of Keras' own metrics; a test compares them.
_LARGER = (
    "accuracy acc auc f1 f1_score fbeta_score f_beta_score precision recall precision_at_recall "
    "recall_at_precision sensitivity_at_specificity specificity_at_sensitivity io_u iou r2 "
    "r2_score cosine_similarity pearson_correlation concordance_correlation"
)
_SMALLER = (
    "loss mean_squared_error mse root_mean_squared_error rmse mean_absolute_error mae "
    "mean_absolute_percentage_error mape mean_squared_logarithmic_error msle binary_crossentropy "
    "bce categorical_crossentropy sparse_categorical_crossentropy crossentropy kl_divergence kld "
    "logcosh log_cosh_error poisson hinge squared_hinge categorical_hinge perplexity error"
)
_KNOWN: dict[str, Mode] = {
    **dict.fromkeys(_LARGER.split(), "max"),
    **dict.fromkeys(_SMALLER.split(), "min"),
}
_REVERSED = frozenset({"neg", "negative", "negated", "minus", "inverse", "inverted"})


class ComparesMetrics:
    """A policy, seen as something that compares metrics; most policies compare none."""

    @property
    def monitors(self) -> tuple[str, ...]:
        """The metrics that this policy compares."""
        return ()

    def with_directions(self, directions: Directions) -> Self:
        """Returns this policy with a direction for each metric that it compares.

        Args:
            directions: of metrics that the program defines itself, by name.

        Raises:
            ConfigError: If a direction was not given and is not known.
        """
        return self


def inferred_direction(monitor: str, directions: Directions | None = None) -> Mode | None:
    """Returns the direction of a metric, or None if it is not known.

    Keras puts `val_`, names of outputs and numbers around the name of a metric, so its last words
    decide.

    Args:
        monitor: the name of the metric.
        directions: of metrics that the program defines itself; by default none.

    Example:
        >>> from ckptkit.policies.metric_direction import inferred_direction
        >>> [inferred_direction(name) for name in ("val_loss", "val_head_auc_1", "score")]
        ['min', 'max', None]
    """
    base = monitor.removeprefix("val_")
    own = directions or {}
    # Keras logs a metric of one of several outputs as `<output>_<metric>`.
    named = [name for name in own if base == name or base.endswith(f"_{name}")]
    if named:
        return own[max(named, key=len)]
    words = [word for word in re.split(r"[^a-z0-9]+", monitor.lower()) if word]
    while words and words[-1].isdigit():
        words.pop()
    if _REVERSED.intersection(words):
        return None
    return next(
        (known for i in range(len(words)) if (known := _KNOWN.get("_".join(words[i:])))), None
    )


def given_or_inferred(owner: str, monitor: str, mode: str) -> ModeOrAuto:
    """Returns the direction that was given, or the one that the name tells, or `"auto"`.

    Args:
        owner: who compares, for the message.
        monitor: the name of the metric.
        mode: as it was given.

    Raises:
        ConfigError: If it is no direction.
    """
    if mode in ("min", "max"):
        return cast("Mode", mode)
    if mode != "auto":
        raise ConfigError(
            f"{owner}: mode says whether smaller or larger is better. Received: mode={mode!r}. "
            "Expected 'min' or 'max', or 'auto' for metrics that Keras knows."
        )
    return inferred_direction(monitor) or "auto"


def required(owner: str, monitor: str, mode: str, directions: Directions | None = None) -> Mode:
    """Returns the direction of a metric.

    Args:
        owner: who compares, for the message.
        monitor: the name of the metric.
        mode: `"min"`, `"max"`, or `"auto"` to infer it.
        directions: see `inferred_direction`.

    Raises:
        ConfigError: If it was not given and cannot be inferred.
    """
    known = given_or_inferred(owner, monitor, mode)
    if known == "auto" and (found := inferred_direction(monitor, directions)) is not None:
        return found
    if known == "auto":
        raise ConfigError(
            f"{owner}: it is not known whether smaller or larger values of {monitor!r} are better. "
            "Expected mode='min' or mode='max'. Received: none, and Keras knows no direction for "
            "this metric."
        )
    return known
