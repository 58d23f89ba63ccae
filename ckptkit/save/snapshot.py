"""A consistent copy of the state in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import tensorflow as tf

from ckptkit.save.tracked import Tracked
from ckptkit.store.manifest import RESULT, StateEntry, TensorEntry


@dataclass(frozen=True)
class Snapshot:
    """The state of one moment; training may go on.

    Args:
        states: what the user named.
        entries: what is known of each tensor.
        tensors: their values, in the same order.
    """

    states: tuple[StateEntry, ...]
    entries: tuple[TensorEntry, ...]
    tensors: tuple[tf.Tensor, ...]


def take(tracked: Tracked) -> Snapshot:
    """Copies the state of now.

    Args:
        tracked: which leaves there are.

    Raises:
        ConfigError: where a part of the state cannot be saved, naming it.
    """
    entries, tensors = [], []
    for leaf in tracked.leaves:
        for part, tensor in leaf.capture().items():
            static = leaf.kind == "variable"
            shape = leaf.variable.shape if static else None  # type: ignore[attr-defined]
            entries.append(TensorEntry(
                key=f"{leaf.key}/{part}" if part else leaf.key,
                kind=leaf.kind,
                path=leaf.path,
                shape=None if shape is None or shape.rank is None else tuple(shape.as_list()),
                dtype=tensor.dtype.name,
                trainable=leaf.trainable,
            ))
            tensors.append(tensor)
    return Snapshot(tracked.states, tuple(entries), tuple(tensors))


def specs(tracked: Tracked) -> list[TensorEntry]:
    """What is known of each leaf without reading its values."""
    found = []
    for leaf in tracked.leaves:
        variable = getattr(leaf, "variable", None)
        shape = None if variable is None or variable.shape.rank is None else tuple(variable.shape.as_list())
        dtype = "" if variable is None else variable.dtype.name
        found.append(TensorEntry(key=leaf.key, kind=leaf.kind, path=leaf.path, shape=shape, dtype=dtype, trainable=leaf.trainable))
    return found


def with_result(taken: Snapshot, tracked: Tracked) -> Snapshot:
    """A snapshot, and beside it the weights of now, where they have been replaced since it was taken.

    Keras does that at the end of training: averages of the weights, or the best ones.
    """
    then = dict(zip((entry.key for entry in taken.entries), zip(taken.entries, taken.tensors, strict=True), strict=True))
    now = [(then[leaf.key][0], leaf.capture()[""]) for leaf in tracked.leaves if leaf.key.split("/")[1] == "weights" and leaf.key in then]
    if all(_same_bits(then[entry.key][1], tensor) for entry, tensor in now):
        return taken
    return Snapshot(taken.states, (*taken.entries, *(replace(entry, key=result_key(entry.key)) for entry, _ in now)),
                    (*taken.tensors, *(tensor for _, tensor in now)))


def result_key(key: str) -> str:
    """The key under which a weight's value at the end of training is saved."""
    return key.replace("/weights/", f"/{RESULT}/", 1)


def _same_bits(a: tf.Tensor, b: tf.Tensor) -> bool:
    return bool(a.numpy().tobytes() == b.numpy().tobytes())
