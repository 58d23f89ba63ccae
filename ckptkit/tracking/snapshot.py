"""Takes snapshots: consistent copies of the state in memory, from which checkpoints are written."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf

from ckptkit.run.manifest import CAPTURED, EVALUATED, OPTIMIZER, RESULT, WEIGHTS, StateEntry
from ckptkit.run.tensor_entry import TensorEntry, leaf_key
from ckptkit.tracking.bits import same_bits
from ckptkit.tracking.data_anchor import AnchorUse
from ckptkit.tracking.leaf_group import CapturedLeaves
from ckptkit.tracking.leaves import Leaf, Tensors, no_garbage_collection
from ckptkit.tracking.replicated_leaf import ReplicatedLeaf
from ckptkit.tracking.trackable_graph import EMPTY, TrackableGraph
from ckptkit.tracking.tracker import EXTRA, VARIABLES, Tracked


@dataclass(frozen=True)
class Snapshot:
    """A copy of the state at one moment; training may continue while it is written.

    Args:
        states: the descriptions of the entries of the state.
        captured: the leaves with their values.
        anchors: the anchors from which positions in data are counted.
        results: the final weights by key, if Keras replaced the weights at the end of training.
        evaluated: the weights by key with which the metrics of this moment were measured. They are
            written if they differ from the present ones.
        graph: the objects that TensorFlow follows from the state.
        others: the tensors of other workers of the job, by key.
    """

    states: tuple[StateEntry, ...]
    captured: tuple[CapturedLeaves, ...]
    anchors: tuple[AnchorUse, ...] = ()
    results: dict[str, tf.Tensor] = field(default_factory=dict)
    evaluated: dict[str, tf.Tensor] = field(default_factory=dict)
    graph: TrackableGraph = EMPTY
    others: dict[str, tuple[TensorEntry, tf.Tensor]] = field(default_factory=dict)

    @property
    def values(self) -> Iterator[tuple[Leaf, Tensors]]:
        """Yield each leaf with its values."""
        for each in self.captured:
            yield from zip(each.leaves, each.values, strict=True)

    @cached_property
    def tensors(self) -> dict[str, tuple[TensorEntry, tf.Tensor]]:
        """Return all tensors with their descriptions, by key."""
        # Computed on first use, which is on the writer's thread, not while training waits.
        found = {}
        for leaf, values in self.values:
            described = _describe_leaf(leaf)
            kept = leaf.distinct(values) if isinstance(leaf, ReplicatedLeaf) else values
            for part, tensor in kept.items():
                key = _joined(leaf.key, part)
                found[key] = (replace(described, key=key, dtype=tensor.dtype.name), tensor)
        for key, tensor in self.results.items():
            # A replica may differ from the first one only at the end.
            entry = found[key if key in found else leaf_key(key)][0]
            found[result_key(key)] = (replace(entry, key=result_key(key)), tensor)
        # Compared here, on the writer's thread.
        if any(not same_bits(found[key][1], tensor) for key, tensor in self.evaluated.items()):
            for key, tensor in self.evaluated.items():
                other = evaluated_key(key)
                found[other] = (replace(found[key][0], key=other), tensor)
        return found | self.others

    @property
    def weights(self) -> dict[str, tf.Tensor]:
        """Return the weights of models, by key."""
        return {
            leaf.key: values[""]
            for leaf, values in self.values
            if leaf.kind == "variable" and leaf.key.split("/")[1] == WEIGHTS
        }

    @property
    def entries(self) -> tuple[TensorEntry, ...]:
        """Return the descriptions of all tensors."""
        return tuple(entry for entry, _ in self.tensors.values())

    @property
    def size_bytes(self) -> int:
        """Return the memory of all values in bytes.

        Strings and variants do not count, because TensorFlow does not report their sizes. Replicas
        that should be equal do not count: they are let go of as soon as they are compared.
        """
        return sum(
            tensor.dtype.size * int(tensor.shape.num_elements() or 0)
            for leaf, values in self.values
            for part, tensor in values.items()
            if tensor.dtype not in (tf.string, tf.variant)
            and not (part and isinstance(leaf, ReplicatedLeaf) and not leaf.may_differ)
        )


def take_snapshot(tracked: Tracked) -> Snapshot:
    """Take a snapshot of the current state.

    Args:
        tracked: the leaves.

    Raises:
        ConfigError: If a part of the state cannot be saved; the message names it.
    """
    with no_garbage_collection():
        captured = tuple(group.capture() for group in tracked.groups)
        # Only ckptkit's own entries, which come last, read data.
        own = tracked.groups[-1].leaves if tracked.groups else ()
        anchors = tuple(use for leaf in own for use in getattr(leaf, "anchors", ()))
        return Snapshot(tracked.states, captured, anchors, graph=tracked.graph)


def _describe_leaf(leaf: Leaf) -> TensorEntry:
    """Return the description of a leaf without reading its values."""
    variable = getattr(leaf, "variable", None)
    shape = (
        None if variable is None or variable.shape.rank is None else tuple(variable.shape.as_list())
    )
    dtype = "" if variable is None else variable.dtype.name
    return TensorEntry(
        key=leaf.key,
        kind=leaf.kind,
        path=leaf.path,
        shape=shape,
        dtype=dtype,
        trainable=leaf.trainable,
        place=getattr(leaf, "place", ""),
        replicas=len(leaf.components) if isinstance(leaf, ReplicatedLeaf) else msgspec.UNSET,
        aggregation=leaf.aggregation if isinstance(leaf, ReplicatedLeaf) else msgspec.UNSET,
    )


def describe_leaves(leaves: Iterable[Leaf]) -> list[TensorEntry]:
    """Return the description of each leaf without reading its values."""
    return [_describe_leaf(leaf) for leaf in leaves]


def with_final_weights(taken: Snapshot, tracked: Tracked) -> Snapshot:
    """Return a snapshot that also contains the current weights, if they have changed since.

    Keras may replace weights at the end of training by their averages, or by the best ones.

    Args:
        taken: the snapshot of the state from which training can continue.
        tracked: the leaves, with the current weights.
    """
    then = {leaf.key: values for leaf, values in taken.values if leaf.kind == "variable"}
    now = {
        leaf.key: leaf.capture()
        for leaf in tracked.leaves
        if leaf.key.split("/")[1] == WEIGHTS and leaf.key in then
    }
    # Replicas that were not read had the bits of the first one.
    if all(
        same_bits(then[key].get(part, then[key][""]), tensor)
        for key, parts in now.items()
        for part, tensor in parts.items()
    ):
        return taken
    return replace(
        taken,
        results={
            _joined(key, part): tensor
            for key, parts in now.items()
            for part, tensor in parts.items()
            if not part or not same_bits(parts[""], tensor)
        },
    )


def _joined(key: str, part: str) -> str:
    return f"{key}/{part}" if part else key


def result_key(key: str) -> str:
    """Return the key under which the final value of a weight is saved."""
    return key.replace("/weights/", f"/{RESULT}/", 1)


def evaluated_key(key: str) -> str:
    """Return the key under which the evaluated value of a weight is saved."""
    return key.replace("/weights/", f"/{EVALUATED}/", 1)


_MOST_NAMED = 4
_CHUNK = 1 << 20

_JUDGED = frozenset({WEIGHTS, RESULT, OPTIMIZER, VARIABLES, EXTRA, CAPTURED})
"""The roles of the variables that training computes with. A metric may be NaN by itself."""


def not_finite(snapshot: Snapshot, known_finite: Container[str] = frozenset()) -> tuple[str, ...]:
    """Return the paths of variables with NaN or infinity, without those of metrics.

    Args:
        snapshot: the values that are about to be written.
        known_finite: the keys of variables that need not be checked again.

    Returns:
        The first few paths; empty if all values are finite.
    """
    found: list[str] = []
    for key, (entry, tensor) in snapshot.tensors.items():
        if len(found) == _MOST_NAMED:
            break
        if entry.kind == "variable" and entry.role in _JUDGED and key not in known_finite:
            # A type that NumPy cannot check must not prevent a save.
            try:
                bad = is_bad(np.asarray(tensor), entry)
            except Exception:
                continue
            if bad and entry.path not in found:
                found.append(entry.path)
    return tuple(found)


def is_bad(values: Any, entry: TensorEntry) -> bool:
    """Return whether an array contains NaN, or infinity in a trained variable.

    A constant weight, such as a mask, may contain infinity, and so may a single number outside of
    Keras' lists, such as the best loss so far.

    Args:
        values: the array.
        entry: its description.
    """
    if values.dtype.kind in "biuSUO":
        return False
    number = values.size == 1 and entry.role in (VARIABLES, EXTRA, CAPTURED)
    judge = np.isfinite if entry.trainable and not number else lambda part: ~np.isnan(part)
    flat = values.reshape(-1)
    # Checked in parts, because the result of the comparison takes memory too.
    return not all(
        judge(flat[start : start + _CHUNK]).all() for start in range(0, flat.size, _CHUNK)
    )
