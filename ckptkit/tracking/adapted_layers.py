"""Saves the learned or given state of preprocessing layers: vocabularies, bins, salts.

Keras keeps them in tables, constants and Python attributes, outside of its lists of variables. With
a different vocabulary, the same embedding means different words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from ckptkit.compat import keras_adapted
from ckptkit.errors import IncompatibleStateError
from ckptkit.tracking.leaves import Tensors


class AdaptedLeaf:
    """A leaf with the learned state of one preprocessing layer.

    Args:
        key: see `Leaf`.
        path: the name of the layer.
        layer: the layer.
    """

    trainable: bool | None = None
    kind = "trackable"

    def __init__(self, key: str, path: str, layer: Any) -> None:
        self.key, self.path, self.layer = key, path, layer
        self._identity: tuple[Any, ...] = ()
        self._learnt: Tensors = {}

    def capture(self) -> Tensors:
        """Return the parts of the layer's learned state; an empty part means no value."""
        # Read once: a vocabulary of a million words takes a second, and training waits.
        now = keras_adapted.identity(self.layer)
        known = len(now) == len(self._identity)
        if not known or any(a is not b for a, b in zip(now, self._identity, strict=True)):
            self._learnt, self._identity = keras_adapted.learnt(self.layer), now
        return dict(self._learnt)

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Set the learned state of the layer.

        Raises:
            IncompatibleStateError: If the layer learns other parts. Nothing was assigned.
        """
        self.assign_changed(tensors)

    def assign_changed(self, tensors: Mapping[str, tf.Tensor]) -> bool:
        """Set the learned state of the layer, and return whether it has changed.

        Raises:
            IncompatibleStateError: as `assign`.
        """
        present = self.capture()
        if same_parts(present, tensors):
            # A new table, even with the same words, would be unknown to functions that were traced.
            return False
        # A TF-IDF layer has weights only after `adapt`.
        if {*present, *tensors} - {"idf_weights"} - (present.keys() & tensors.keys()):
            raise IncompatibleStateError(
                f"The layer {self.path!r} ({type(self.layer).__name__}) learns "
                f"{_names(present)}. Received: {_names(tensors)}. Build the layer as it was when "
                "this was saved."
            )
        keras_adapted.learn(self.layer, tensors)
        return True

    @property
    def is_empty(self) -> bool:
        """Return whether the layer has neither learned nor given state."""
        return not any(int(tf.size(tensor)) for tensor in self.capture().values())


def adapted_leaves(
    name: str, found: Iterable[tuple[str, Any]], seen: dict[int, Any]
) -> Iterator[AdaptedLeaf]:
    """Yield a leaf for each preprocessing layer in an entry of the state.

    Args:
        name: the entry's name.
        found: the objects in it, as `visit` finds them.
        seen: the layers that already have a leaf, by id; those found are added.
    """
    number = 0
    for _, layer in found:
        if id(layer) in seen or not keras_adapted.is_adapted(layer):
            continue
        # The lookup inside a TextVectorization is the same state.
        for each in (layer, keras_adapted.inner_lookup(layer)):
            seen[id(each)] = each
        yield AdaptedLeaf(f"{name}/adapted/{number}", layer.name, layer)
        number += 1


def same_parts(a: Mapping[str, tf.Tensor], b: Mapping[str, tf.Tensor]) -> bool:
    """Return whether two learned states are equal bit for bit."""
    return a.keys() == b.keys() and all(
        a[part].dtype == b[part].dtype
        and a[part].shape == b[part].shape
        and a[part].numpy().tobytes() == b[part].numpy().tobytes()
        if a[part].dtype != tf.string
        else a[part].numpy().tolist() == b[part].numpy().tolist()
        for part in a
    )


def described(parts: Mapping[str, tf.Tensor]) -> str:
    """Describe a layer's learned state, such as `vocabulary of 12, idf_weights of 13`."""
    return ", ".join(f"{part} of {int(tf.size(tensor))}" for part, tensor in parts.items())


def _names(parts: Mapping[str, tf.Tensor]) -> str:
    return ", ".join(sorted(parts)) or "nothing"
