"""What belongs to one worker of a job in a snapshot, and how it travels to the one that writes.

Weights and optimizers have the same values on all workers, so the first worker's are saved. All
other values are a worker's own: metrics, the statistics of BatchNormalization, positions in data,
random states, objects of the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import tensorflow as tf
import xxhash

from ckptkit.errors import ConfigError
from ckptkit.run.data_anchor_entry import AnchorEntry
from ckptkit.run.manifest import EVALUATED, RESULT, WORKER
from ckptkit.run.tensor_entry import TensorEntry, leaf_key
from ckptkit.tracking.leaves import Leaf
from ckptkit.tracking.replicated_leaf import ReplicatedLeaf
from ckptkit.tracking.snapshot import Snapshot

_PREFIX = f"process/{WORKER}"


@dataclass(frozen=True, kw_only=True)
class WorkerPart:
    """What one worker adds to a checkpoint.

    Args:
        at: the position and the reason of the save, which are the same on all workers.
        entries: the descriptions of its own tensors, in the order of `values`.
        values: these tensors, in TensorFlow's serialized form.
        shared: a digest of each value that is the same on all workers, by key.
        anchors: the positions in data that count batches.
    """

    at: str
    entries: tuple[TensorEntry, ...] = ()
    values: tuple[bytes, ...] = ()
    shared: dict[str, int] = field(default_factory=dict)
    anchors: tuple[AnchorEntry, ...] = ()


def is_shared(leaf: Leaf) -> bool:
    """Return whether all workers have the same value of a leaf, by its kind."""
    return isinstance(leaf, ReplicatedLeaf) and not leaf.may_differ


def part_of(snapshot: Snapshot, at: str) -> WorkerPart:
    """Return what this worker adds to a checkpoint; call it on the writer's thread.

    Args:
        snapshot: its snapshot.
        at: see `WorkerPart`.

    Raises:
        ConfigError: If it counts batches from a state that only this worker has.
    """
    shared = {leaf.key for leaf, _ in snapshot.values if is_shared(leaf)}
    own = [
        (entry, tensor)
        for key, (entry, tensor) in snapshot.tensors.items()
        if leaf_key(key) not in shared and entry.role not in (RESULT, EVALUATED)
    ]
    anchors = []
    for use in snapshot.anchors:
        if use.anchor is not None:
            raise ConfigError(
                f"The position in {use.key} counts batches from an anchor, which a worker cannot "
                "send. This is an error of ckptkit; please report it."
            )
        anchors.append(
            AnchorEntry(
                name="",
                key=use.key,
                parts=(),
                batches=0,
                since=use.since,
                order=use.order,
                needed=False,
            )
        )
    return WorkerPart(
        at=at,
        entries=tuple(entry for entry, _ in own),
        values=tuple(serialized(tensor) for _, tensor in own),
        shared=shared_digests(snapshot),
        anchors=tuple(anchors),
    )


def shared_digests(snapshot: Snapshot) -> dict[str, int]:
    """Return a digest of each value that all workers share, by key."""
    shared = {leaf.key for leaf, _ in snapshot.values if is_shared(leaf)}
    return {
        key: digest(tensor)
        for key, (_, tensor) in snapshot.tensors.items()
        if leaf_key(key) in shared
    }


def digest(tensor: tf.Tensor) -> int:
    """Return a digest of a tensor's bits."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(tensor).view(np.uint8).data) >> 1


def joined(parts: Mapping[int, WorkerPart]) -> dict[str, tuple[TensorEntry, tf.Tensor]]:
    """Return the tensors of other workers with the keys under which a checkpoint has them."""
    found = {}
    for rank, part in parts.items():
        for entry, value in zip(part.entries, part.values, strict=True):
            key = f"{_PREFIX}/{rank}/{entry.key}"
            found[key] = (replace(entry, key=key), parsed(value, entry.dtype))
    return found


def entries_of(entries: Iterable[TensorEntry], rank: int) -> list[TensorEntry]:
    """Return the descriptions of one worker's own tensors, with the keys that they have there.

    Args:
        entries: of a checkpoint.
        rank: the number of the worker; not that of the first one.
    """
    prefix = f"{_PREFIX}/{rank}/"
    return [
        replace(entry, key=entry.key.removeprefix(prefix))
        for entry in entries
        if entry.key.startswith(prefix)
    ]


def saved_key(key: str, rank: int) -> str:
    """Return the key under which a checkpoint has a worker's own tensor."""
    return f"{_PREFIX}/{rank}/{key}"


def workers_in(entries: Iterable[TensorEntry]) -> int:
    """Return the number of workers that a checkpoint was saved by."""
    return 1 + max(
        (int(entry.key.split("/")[2]) for entry in entries if entry.role == WORKER), default=0
    )


def serialized(tensor: tf.Tensor) -> bytes:
    """Return a tensor as bytes."""
    with tf.device("CPU:0"):
        return bytes(tf.io.serialize_tensor(tensor).numpy())


def parsed(value: bytes, dtype: str) -> tf.Tensor:
    """Return the tensor that `serialized` has turned into bytes."""
    with tf.device("CPU:0"):
        return tf.io.parse_tensor(value, tf.as_dtype(dtype))


def encode_part(part: WorkerPart) -> bytes:
    """Return a part as bytes."""
    return msgspec.msgpack.encode(part)


def decode_part(data: bytes) -> WorkerPart:
    """Return the part that `encode_part` has turned into bytes."""
    return msgspec.msgpack.decode(data, type=WorkerPart)
