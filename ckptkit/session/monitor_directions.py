"""Gives each metric that a policy compares a direction: whether smaller or larger is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from ckptkit.compat import keras_models
from ckptkit.policies.metric_direction import Directions
from ckptkit.policies.metric_order import Mode
from ckptkit.session.options import RunOptions


def with_directions(options: RunOptions) -> RunOptions:
    """Return options whose policies have a direction (min or max) for each metric.

    Args:
        options: the options of the run.

    Raises:
        ConfigError: If a direction was not given and cannot be inferred.
    """
    directions, mirror = directions_in(options.state), options.mirror
    if mirror is not None and mirror.keep is not None:
        mirror = replace(mirror, keep=mirror.keep.with_directions(directions))
    return replace(
        options,
        mirror=mirror,
        save=options.save.with_directions(directions),
        keep=options.keep.with_directions(directions),
    )


def directions_in(state: Mapping[str, Any]) -> Directions:
    """Return the directions of the models' metric objects, by the name of the metric."""
    found: dict[str, Mode] = {}
    for value in state.values():
        if isinstance(value, keras.Model):
            found |= keras_models.metric_directions(value)
    return found
