"""Reads values of a checkpoint, without assigning them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ckptkit.bundle.tensor_bundle import read_tensors
from ckptkit.bundle.tensor_read import read_in_parallel
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import ATTRIBUTES
from ckptkit.run.tensor_entry import TensorEntry, leaf_key
from ckptkit.tracking.attribute_state import moved_attributes, moved_settings
from ckptkit.tracking.leaves import PythonLeaf
from ckptkit.writing.data_anchor_files import read_anchor

Values = dict[str, dict[str, tf.Tensor]]
"""The values of leaves, by the key of the leaf and by part."""


def read_values(checkpoint: Checkpoint, entries: Sequence[TensorEntry]) -> Values:
    """Read tensors, grouped by leaf and part, in the form in which leaves are assigned.

    Args:
        checkpoint: the checkpoint to read.
        entries: the descriptions of the tensors.

    Raises:
        CorruptCheckpointError: If they cannot be read.
    """
    tensors = read_in_parallel(checkpoint.prefix, entries)
    values: Values = {}
    for entry, tensor in zip(entries, tensors, strict=True):
        leaf, part = _split(entry)
        values.setdefault(leaf, {})[part] = tensor
    return values


def _split(entry: TensorEntry) -> tuple[str, str]:
    """Split the key of a tensor into the key of its leaf and the part."""
    leaf = leaf_key(entry.key)
    return leaf, entry.key[len(leaf) + 1 :]


def add_anchors(values: Values, checkpoint: Checkpoint) -> None:
    """Add the states of iterators from which a checkpoint counts batches.

    Args:
        values: the values that `read_values` returned.
        checkpoint: the checkpoint to read.

    Raises:
        CorruptCheckpointError: If they cannot be read.
    """
    for anchor in filter(operator.attrgetter("name"), checkpoint.manifest.anchors):
        # For a pass of a loop, the number of the pass is a part of the name.
        leaf, rest = leaf_key(anchor.key), anchor.key[len(leaf_key(anchor.key)) + 1 :]
        parts = read_anchor(checkpoint, anchor)
        values.setdefault(leaf, {}).update(
            {f"{rest}/{part}" if rest else part: tensor for part, tensor in parts.items()}
        )


def read_python_state(checkpoint: Checkpoint, key: str) -> Any:
    """Return the Python state that is saved under a key, or None.

    Args:
        checkpoint: the checkpoint to read.
        key: the key of the leaf.

    Raises:
        CorruptCheckpointError: If it cannot be read.
    """
    entries = [entry for entry in checkpoint.manifest.tensors if leaf_key(entry.key) == key]
    values = read_values(checkpoint, entries)
    return PythonLeaf(key, key, dict, dict).value(values[key]) if entries else None


def has_moved(checkpoint: Checkpoint, attribute: str) -> bool:
    """Whether training has changed an attribute of any object of the program.

    Args:
        checkpoint: the checkpoint to read.
        attribute: its name.

    Raises:
        CorruptCheckpointError: if it cannot be read.
    """
    return any(attribute in moved_attributes(text) for text in _attribute_texts(checkpoint))


def read_moved_settings(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Return the settings of layers, optimizers and `compile` that training has changed.

    Args:
        checkpoint: the checkpoint to read.

    Raises:
        CorruptCheckpointError: if it cannot be read.
    """
    return {
        path: values
        for text in _attribute_texts(checkpoint)
        for path, values in moved_settings(text).items()
    }


def _attribute_texts(checkpoint: Checkpoint) -> Sequence[tf.Tensor]:
    entries = [
        entry
        for entry in checkpoint.manifest.tensors
        if entry.role == ATTRIBUTES and entry.key == leaf_key(entry.key)
    ]
    return read_tensors(checkpoint.prefix, entries)
