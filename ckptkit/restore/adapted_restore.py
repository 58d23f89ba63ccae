"""Restores the learned state of preprocessing layers before a step is traced.

Tracing bakes vocabularies and boundaries into the function as constants. So they are restored
first. Functions that were traced with different values are deleted, and are traced again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import keras

from ckptkit.bundle import tensor_bundle
from ckptkit.compat import keras_adapted
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import ADAPTED
from ckptkit.run.tensor_entry import leaf_key
from ckptkit.tracking.adapted_layers import AdaptedLeaf, described
from ckptkit.tracking.leaves import Tensors
from ckptkit.tracking.tracker import Tracked


class AdaptedRestore:
    """Assigns the learned state in a checkpoint to preprocessing layers, and can undo that."""

    def __init__(self) -> None:
        self._before: list[tuple[AdaptedLeaf, Tensors]] = []
        self._objects: Sequence[Any] = ()

    def apply(self, checkpoint: Checkpoint, tracked: Tracked, *, quiet: bool = False) -> bool:
        """Assign the learned state of a checkpoint's layers.

        A second call for the same checkpoint changes nothing.

        Args:
            checkpoint: the checkpoint to restore.
            tracked: the leaves of the live state. If layers are missing, because a model is not
                built yet, nothing is assigned.
            quiet: whether a change is not logged, because the layers are new.

        Returns:
            Whether a layer has changed. If so, traced functions have to be traced again.

        Raises:
            CorruptCheckpointError: If it cannot be read; nothing was assigned.
            IncompatibleStateError: If a layer learns something else; nothing was assigned.
        """
        leaves = {leaf.key: leaf for leaf in tracked.leaves if isinstance(leaf, AdaptedLeaf)}
        names = {state.name for state in tracked.states}
        entries = [
            entry
            for entry in checkpoint.manifest.tensors
            if entry.role == ADAPTED and entry.key.partition("/")[0] in names
        ]
        if not entries or {leaf_key(entry.key) for entry in entries} != leaves.keys():
            return False
        saved: dict[str, Tensors] = {key: {} for key in leaves}
        values = tensor_bundle.read_tensors(checkpoint.prefix, entries)
        for entry, value in zip(entries, values, strict=True):
            key = leaf_key(entry.key)
            saved[key][entry.key[len(key) + 1 :]] = value
        self._objects = tracked.objects
        changed = False
        try:
            for key, leaf in leaves.items():
                changed |= self._assign(checkpoint, leaf, saved[key], quiet)
        except BaseException:
            self.undo()
            raise
        if changed:
            drop_traced_functions(tracked.objects)
        return changed

    def _assign(
        self, checkpoint: Checkpoint, leaf: AdaptedLeaf, saved: Tensors, quiet: bool
    ) -> bool:
        before, was_empty = leaf.capture(), leaf.is_empty
        if not leaf.assign_changed(saved):
            return False
        self._before.append((leaf, before))
        # Otherwise the program has adapted it to other data, perhaps on purpose.
        level = logging.DEBUG if quiet else logging.INFO if was_empty else logging.WARNING
        logger.log(
            level,
            "the layer %r (%s) is as it was when the run was saved: %s, from %s. In the program it "
            "had %s. Name another directory for a run with other values",
            leaf.path,
            type(leaf.layer).__name__,
            described(saved),
            checkpoint.path,
            described(before) if not was_empty else "learnt nothing",
        )
        return True

    def not_saved(self, checkpoint: Checkpoint, tracked: Tracked) -> list[str]:
        """Return the layers whose learned state is missing in an older checkpoint."""
        if any(entry.role == ADAPTED for entry in checkpoint.manifest.tensors):
            return []
        return [
            f"{leaf.path!r} ({type(leaf.layer).__name__})"
            for leaf in tracked.leaves
            if isinstance(leaf, AdaptedLeaf) and not leaf.is_empty
        ]

    def undo(self) -> None:
        """Restore the layers' previous state, because the restore failed."""
        for leaf, before in reversed(self._before):
            keras_adapted.learn(leaf.layer, before)
        if self._before:
            drop_traced_functions(self._objects)
        self._before = []

    def done(self) -> None:
        """Forget the layers' previous state: the restore succeeded."""
        self._before, self._objects = [], ()


def drop_traced_functions(objects: Sequence[Any]) -> None:
    """Let Keras trace the functions of models again, because they contain old constants.

    Args:
        objects: the models, among others.
    """
    for model in objects:
        if isinstance(model, keras.Model):
            model.test_function = model.predict_function = None
