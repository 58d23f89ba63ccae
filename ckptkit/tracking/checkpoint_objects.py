"""The objects of a `tf.train.Checkpoint` as a state, and whether they are still the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from ckptkit.errors import ConfigError

_ROOTS = ("root", "_root")
"""The names under which TensorFlow has kept the object that `tf.train.Checkpoint(root)` names."""


def objects_of(checkpoint: tf.train.Checkpoint) -> dict[str, Any]:
    """Return the objects of a `tf.train.Checkpoint` by name, without its counter of saves.

    Raises:
        ConfigError: If it has none, or one of them has no name of its own.
    """
    children = dict(tf.train.TrackableView.children(checkpoint))
    children.pop("save_counter", None)
    if any(name in children for name in _ROOTS):
        raise ConfigError(
            "The tf.train.Checkpoint has a root object without a name. A run saves each object "
            "under a name: write tf.train.Checkpoint(model=model) instead of "
            "tf.train.Checkpoint(model). A checkpoint with one object is restored by both."
        )
    if not children:
        raise ConfigError(
            "The tf.train.Checkpoint has no objects. Expected one as in "
            "tf.train.Checkpoint(model=model, optimizer=optimizer)."
        )
    return children


def check_same_objects(checkpoint: tf.train.Checkpoint, known: Mapping[str, Any]) -> None:
    """Check that a `tf.train.Checkpoint` still has the objects that a manager saves, and no others.

    Args:
        checkpoint: the checkpoint.
        known: its objects by name when the manager was made.

    Raises:
        ConfigError: If an object was attached, replaced or removed since. It would be neither saved
            nor restored.
    """
    now = objects_of(checkpoint)
    differ = [
        name
        for name in sorted({*now, *known})
        if name not in now or name not in known or now[name] is not known[name]
    ]
    if differ:
        raise ConfigError(
            "The objects of the tf.train.Checkpoint have changed since the manager was made: "
            f"{', '.join(differ)}. They would be neither saved nor restored. Attach all objects "
            "first, and make the manager then."
        )
