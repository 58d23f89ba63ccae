"""Decides whether smaller or larger values of a metric are better, as Keras does.

Save policies, keep policies, exports and the search for the best checkpoint use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Self, cast

from ckptkit.errors import ConfigError
from ckptkit.policies.metric_order import Mode

ModeOrAuto = Literal["min", "max", "auto"]
"""A direction of a metric, or `"auto"` to infer it."""

Directions = Mapping[str, Mode]
"""The directions of a program's own metrics, by name."""

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
_REVERSING = (
    "anti complement false inv inverse inverted lost minus missed neg negated negative no non not "
    "un wrong"
)
_REVERSED = frozenset(_REVERSING.split())
_ONE_MINUS = re.compile(r"(?<![a-z0-9])1(\.0*)?\s*[-\u2212]")
"""`1-auc` and the like, in which a larger value is worse."""


class ComparesMetrics:
    """The base class of policies with regard to metrics; most policies compare no metrics."""

    @property
    def monitors(self) -> tuple[str, ...]:
        """The metrics that this policy compares."""
        return ()

    def with_directions(self, directions: Directions) -> Self:
        """Return this policy with a direction for each metric that it compares.

        Args:
            directions: the directions of the program's own metrics, by name.

        Raises:
            ConfigError: If a direction was not given and is unknown.
        """
        return self


def inferred_direction(monitor: str, directions: Directions | None = None) -> Mode | None:
    """Return the direction of a metric, or None if it is unknown.

    Keras adds `val_`, names of outputs and numbers to the name of a metric, so its last words
    decide.

    Args:
        monitor: the name of the metric.
        directions: the directions of the program's own metrics; by default none.

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
    if _REVERSED.intersection(words) or _ONE_MINUS.search(monitor.lower()) or words[:1] == ["1"]:
        return None
    return next(
        (known for i in range(len(words)) if (known := _KNOWN.get("_".join(words[i:])))), None
    )


def given_or_inferred(owner: str, monitor: str, mode: str) -> ModeOrAuto:
    """Return the given direction, or the direction that the name implies, or `"auto"`.

    Args:
        owner: the name of the policy, for the message.
        monitor: the name of the metric.
        mode: the argument of the policy.

    Raises:
        ConfigError: If it is not a direction.
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
    """Return the direction of a metric, given or inferred.

    Args:
        owner: the name of the policy, for the message.
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
            f"{owner}: it is unknown whether smaller or larger values of {monitor!r} are better. "
            f"Expected mode='min' or mode='max'. Received: no mode, and Keras knows no direction "
            f"for this metric."
        )
    return known
