"""A consistent copy of the state in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import tensorflow as tf

from ckptkit.run.manifest import RESULT, StateEntry, TensorEntry
from ckptkit.tracking.leaf_group import Captured, no_collection
from ckptkit.tracking.leaves import Leaf, Tensors
from ckptkit.tracking.tracker import Tracked


@dataclass(frozen=True)
class Snapshot:
    """The state of one moment; training may go on.

    Args:
        states: what the user named.
        captured: everything with values, and those.
        results: the values of weights that replaced them at the end of training, by key.
    """

    states: tuple[StateEntry, ...]
    captured: tuple[Captured, ...]
    results: dict[str, tf.Tensor] = field(default_factory=dict)

    @property
    def values(self) -> Iterator[tuple[Leaf, Tensors]]:
        """Each leaf with its values."""
        for each in self.captured:
            yield from zip(each.leaves, each.values, strict=True)

    @cached_property
    def tensors(self) -> dict[str, tuple[TensorEntry, tf.Tensor]]:
        """What is known of each tensor, and itself, by key. Described when it is first asked for,
        which is not where training waits.
        """
        found = {}
        for leaf, values in self.values:
            described = _describe(leaf)
            for part, tensor in values.items():
                key = f"{leaf.key}/{part}" if part else leaf.key
                found[key] = (replace(described, key=key, dtype=tensor.dtype.name), tensor)
        for key, tensor in self.results.items():
            found[result_key(key)] = (replace(found[key][0], key=result_key(key)), tensor)
        return found

    @property
    def entries(self) -> tuple[TensorEntry, ...]:
        """What is known of each tensor."""
        return tuple(entry for entry, _ in self.tensors.values())

    @property
    def size_bytes(self) -> int:
        """How much memory the values take, as far as that is known."""
        return sum(
            tensor.dtype.size * int(tensor.shape.num_elements() or 0)
            for _, values in self.values
            for tensor in values.values()
            if tensor.dtype not in (tf.string, tf.variant)
        )


def take(tracked: Tracked) -> Snapshot:
    """Copies the state of now.

    Args:
        tracked: which leaves there are.

    Raises:
        ConfigError: where a part of the state cannot be saved, naming it.
    """
    with no_collection():
        return Snapshot(tracked.states, tuple(group.capture() for group in tracked.groups))


def _describe(leaf: Leaf) -> TensorEntry:
    """What is known of a leaf without reading its values."""
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
    )


def specs(tracked: Tracked) -> list[TensorEntry]:
    """What is known of each leaf without reading its values."""
    return [_describe(leaf) for leaf in tracked.leaves]


def with_result(taken: Snapshot, tracked: Tracked) -> Snapshot:
    """A snapshot, and beside it the weights of now, where they have been replaced since it was
    taken.

    Keras does that at the end of training: averages of the weights, or the best ones.
    """
    then = {leaf.key: values[""] for leaf, values in taken.values if leaf.kind == "variable"}
    now = {
        leaf.key: leaf.capture()[""]
        for leaf in tracked.leaves
        if leaf.key.split("/")[1] == "weights" and leaf.key in then
    }
    if all(_same_bits(then[key], tensor) for key, tensor in now.items()):
        return taken
    return replace(taken, results=now)


def result_key(key: str) -> str:
    """The key under which a weight's value at the end of training is saved."""
    return key.replace("/weights/", f"/{RESULT}/", 1)


def _same_bits(a: tf.Tensor, b: tf.Tensor) -> bool:
    return bool(a.numpy().tobytes() == b.numpy().tobytes())
