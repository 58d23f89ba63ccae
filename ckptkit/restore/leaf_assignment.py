"""Assigns the values of many leaves, all or none, and renews what layers derive from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ckptkit.restore.adapted_restore import drop_traced_functions
from ckptkit.run.manifest import DATA
from ckptkit.tracking.leaf_group import LeafGroup
from ckptkit.tracking.leaves import Leaf


def assign_all(new: Sequence[tuple[Leaf, Mapping[str, tf.Tensor]]]) -> None:
    """Assign every value; if one assignment fails, restore all earlier values.

    Args:
        new: leaves with the values to assign.
    """
    # Most captured variables share their buffers, so this does not need twice the memory. The
    # iterator of training is not captured: a failed restore ends the pass anyway, and TensorFlow
    # may refuse to save its current state, for example while a cache is filled.
    before = LeafGroup(leaf for leaf, _ in new if leaf.key.split("/")[1] != DATA).capture()
    try:
        for leaf, tensors in new:
            leaf.assign(tensors)
    except BaseException as error:
        for leaf, earlier in zip(before.leaves, before.values, strict=True):
            try:
                leaf.assign(earlier)
            # A leaf that refused its new value may also refuse the old one. The others must still
            # get theirs.
            except Exception as another:
                error.add_note(f"{leaf.path} could not be given its earlier value: {another}")
        raise


def refresh_layer_constants(objects: Sequence[Any]) -> bool:
    """Recompute the mean and variance that a Normalization layer derives from its weights.

    Functions that Keras has traced still contain the old constants. If a constant changes, the test
    and predict functions are deleted, so that Keras traces them again. The train function stays;
    the caller must renew it.

    Args:
        objects: the objects to search for layers and models; pass all that the state contains.

    Returns:
        Whether a constant has changed.
    """
    # Normalization computes mean and variance once, as constants, from the weights that `adapt`
    # set. To assign the weights alone does not change its output.
    changed = False
    for layer in objects:
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            before = _constants_of(layer)
            layer.finalize_state()
            changed |= _constants_of(layer) != before
    if changed:
        drop_traced_functions(objects)
    return changed


def _constants_of(layer: Any) -> list[bytes]:
    return [np.asarray(value).tobytes() for value in (layer.mean, layer.variance)]
