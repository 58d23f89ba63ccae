"""Adds what preprocessing layers have learnt to a source of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from ckptkit.bundle import tensor_bundle
from ckptkit.compat import keras_models
from ckptkit.errors import CheckpointError
from ckptkit.load.formats import FoundFormat
from ckptkit.load.model_loading import model_in_file
from ckptkit.load.weight_matching import Weight
from ckptkit.load.weight_source import WeightSource
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import ADAPTED
from ckptkit.run.tensor_entry import leaf_key
from ckptkit.tracking.adapted_layers import adapted_leaves, described
from ckptkit.tracking.leaves import Tensors
from ckptkit.tracking.reachable_objects import visit


@dataclass(frozen=True)
class SavedAdapted:
    """What one layer had learnt when it was saved.

    Args:
        address: its place among the layers of its kind, which both sides count alike.
        key: the key by which it was read.
        name: the name of the layer.
        parts: the values.
    """

    address: str
    key: str
    name: str
    parts: Tensors


def with_adapted(source: WeightSource, model: Any, saved: Sequence[SavedAdapted]) -> WeightSource:
    """Return a source with what layers have learnt after the weights.

    Args:
        source: the weights.
        model: the program's model.
        saved: what the source has of its layers; none if its format has nothing.
    """
    known = {each.address for each in saved}
    leaves = tuple(
        leaf
        for leaf in adapted_leaves("model", visit(model), {})
        # Without a salt there is nothing to load and nothing to lose.
        if not (isinstance(leaf.layer, keras.layers.Hashing) and leaf.is_empty)
        or _address(leaf.key) in known
    )
    first = len(source.saved)

    def read(chosen: Sequence[int]) -> list[Any]:
        weights = iter(source.read([number for number in chosen if number < first]))
        return [
            next(weights) if number < first else saved[number - first].parts for number in chosen
        ]

    return replace(
        source,
        saved=(
            *source.saved,
            *(_entry(each.address, each.key, each.name, each.parts) for each in saved),
        ),
        live=(
            *source.live,
            *(_entry(_address(leaf.key), leaf.path, leaf.path, leaf.capture()) for leaf in leaves),
        ),
        read=read,
        adapted=leaves,
    )


def _address(key: str) -> str:
    """Return the place of a layer among those of its entry, which both sides count alike."""
    return key.partition("/")[2]


def _entry(address: str, key: str, name: str, parts: Tensors) -> Weight:
    return Weight(
        key=key,
        address=address,
        name=f"{name}/{ADAPTED}",
        shape=None,
        dtype=ADAPTED,
        words=described(parts),
    )


def adapted_of_run(checkpoint: Checkpoint, name: str) -> list[SavedAdapted]:
    """Return what the layers of one entry of the state had learnt.

    Raises:
        CorruptCheckpointError: If it cannot be read.
        StorageError: If the system refuses to read.
    """
    entries = [
        entry
        for entry in checkpoint.manifest.tensors
        if entry.role == ADAPTED and entry.key.startswith(f"{name}/")
    ]
    found: dict[str, SavedAdapted] = {}
    values = tensor_bundle.read_tensors(checkpoint.prefix, entries)
    for entry, value in zip(entries, values, strict=True):
        key = leaf_key(entry.key)
        each = found.setdefault(key, SavedAdapted(_address(key), key, entry.path, {}))
        each.parts[entry.key[len(key) + 1 :]] = value
    return list(found.values())


def adapted_of_file(found: FoundFormat, model: Any) -> list[SavedAdapted]:
    """Return what the layers of a whole model in a file had learnt, if it can be built.

    Args:
        found: a `.keras` file, or one in HDF5.
        model: the program's model, whose classes are used to build the other one.
    """
    if next(adapted_leaves("model", visit(model), {}), None) is None:
        return []
    classes = {type(layer).__name__: type(layer) for layer in keras_models.layers_of(model)}
    own = {name: each for name, each in classes.items() if not _is_keras(each)}
    try:
        other = model_in_file(found, own)
    except CheckpointError as error:
        # The weights may still be read; then what was learnt is reported as not loaded.
        logger.info(
            "what preprocessing layers have learnt is not read from %s: %s", found.path, error
        )
        return []
    return [
        SavedAdapted(
            _address(leaf.key), f"{leaf.path} of the stored model", leaf.path, leaf.capture()
        )
        for leaf in adapted_leaves("model", visit(other), {})
        if not leaf.is_empty
    ]


def _is_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "keras"


def as_value(value: Any) -> Tensors:
    """Return a value of `WeightSource.read` as a leaf takes it."""
    return value if isinstance(value, dict) else {"": tf.convert_to_tensor(value)}
