"""What preprocessing layers have learnt (`adapt`) or were given: vocabularies, bins, salts.

Keras keeps these in tables, constants and Python attributes, which none of its lists of variables
names. With another vocabulary the same embedding means other words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from ckptkit.compat import keras_adapted
from ckptkit.errors import IncompatibleStateError
from ckptkit.tracking.leaves import Tensors
from ckptkit.tracking.reachable_objects import visit


class AdaptedLeaf:
    """A leaf that is what one preprocessing layer has learnt.

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
        """Return what the layer has learnt, in parts; an empty part stands for nothing."""
        # Read once: a vocabulary of a million words takes a second, and training waits.
        now = keras_adapted.identity(self.layer)
        known = len(now) == len(self._identity)
        if not known or any(a is not b for a, b in zip(now, self._identity, strict=True)):
            self._learnt, self._identity = keras_adapted.learnt(self.layer), now
        return dict(self._learnt)

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        """Give the layer what another one has learnt.

        Raises:
            IncompatibleStateError: If the layer learns something else. Nothing was assigned.
        """
        self.assign_changed(tensors)

    def assign_changed(self, tensors: Mapping[str, tf.Tensor]) -> bool:
        """Give the layer what another one has learnt, and return whether that is a change.

        Raises:
            IncompatibleStateError: as `assign`.
        """
        present = self.capture()
        if same_parts(present, tensors):
            # A new table, even with the same words, would be unknown to functions that were traced.
            return False
        # A TF-IDF layer has weights only after it has learnt them.
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
        """Whether the layer has learnt nothing and was given nothing."""
        return not any(int(tf.size(tensor)) for tensor in self.capture().values())


def adapted_leaves(name: str, value: Any, seen: dict[int, Any]) -> Iterator[AdaptedLeaf]:
    """Yield a leaf for each preprocessing layer in an entry of the state.

    Args:
        name: the entry's name.
        value: the entry.
        seen: layers by id that have a leaf already; those found are added.
    """
    number = 0
    for _, layer in visit(value):
        if id(layer) in seen or not keras_adapted.is_adapted(layer):
            continue
        # The lookup inside a TextVectorization is the same state.
        for each in (layer, keras_adapted.inner_lookup(layer)):
            seen[id(each)] = each
        yield AdaptedLeaf(f"{name}/adapted/{number}", layer.name, layer)
        number += 1


def same_parts(a: Mapping[str, tf.Tensor], b: Mapping[str, tf.Tensor]) -> bool:
    """Whether two layers have learnt the same, to the bit."""
    return a.keys() == b.keys() and all(
        a[part].dtype == b[part].dtype
        and a[part].shape == b[part].shape
        and a[part].numpy().tobytes() == b[part].numpy().tobytes()
        if a[part].dtype != tf.string
        else a[part].numpy().tolist() == b[part].numpy().tolist()
        for part in a
    )


def described(parts: Mapping[str, tf.Tensor]) -> str:
    """Return what a layer has learnt, in words: `vocabulary of 12, idf_weights of 13`."""
    return ", ".join(f"{part} of {int(tf.size(tensor))}" for part, tensor in parts.items())


def _names(parts: Mapping[str, tf.Tensor]) -> str:
    return ", ".join(sorted(parts)) or "nothing"
