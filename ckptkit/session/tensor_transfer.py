"""Sends tensors from the first worker of a job to others, a small part of them at a time.

The store of the job is in the memory of the first worker. So it holds one group of tensors, until
all that need it have read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
import tensorflow as tf

from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.tracking.worker_part import parsed, serialized
from ckptkit.workers.cluster import Cluster

GROUP_BYTES = 64_000_000
"""The size of a group, unless a single tensor is bigger."""

_LENGTH_BYTES = 8


def groups(entries: Iterable[TensorEntry]) -> list[list[TensorEntry]]:
    """Return tensors in groups of about `GROUP_BYTES`, in their order. Pure."""
    found: list[list[TensorEntry]] = []
    room = 0
    for entry in entries:
        if not found or entry.size_bytes > room:
            found.append([])
            room = GROUP_BYTES
        found[-1].append(entry)
        room -= entry.size_bytes
    return found


def send(
    cluster: Cluster,
    key: str,
    entries: Sequence[TensorEntry],
    read: Callable[[list[TensorEntry]], Sequence[tf.Tensor]],
    readers: Iterable[int],
    timeout_secs: float,
) -> None:
    """Send tensors to other workers, which call `receive` with the same key and entries.

    Args:
        cluster: the workers.
        key: a new key.
        entries: the descriptions of the tensors.
        read: returns the values of some of them.
        readers: the ranks of the workers that receive them.
        timeout_secs: the longest time to wait until a worker has received one group.

    Raises:
        WorkersLateError: If a worker does not receive them in time.
        WorkerLost: If another worker has ended.
    """
    for number, group in enumerate(groups(entries)):
        cluster.put(f"{key}/group-{number}", encoded(read(group)))
        for rank in readers:
            cluster.get(f"{key}/group-{number}/read/{rank}", timeout_secs)
        cluster.delete(f"{key}/group-{number}")


def receive(
    cluster: Cluster, key: str, entries: Sequence[TensorEntry], timeout_secs: float
) -> dict[str, tf.Tensor]:
    """Receive what the first worker sends; see `send`.

    Returns:
        The tensors by their keys.

    Raises:
        WorkersLateError: If the first worker does not send a group in time.
        WorkerLost: If another worker has ended.
    """
    found: dict[str, tf.Tensor] = {}
    for number, group in enumerate(groups(entries)):
        values = decoded(cluster.get(f"{key}/group-{number}", timeout_secs), group)
        found.update(zip((entry.key for entry in group), values, strict=True))
        cluster.put(f"{key}/group-{number}/read/{cluster.rank}", b"")
    return found


def encoded(tensors: Sequence[tf.Tensor]) -> bytes:
    """Return tensors as bytes."""
    shapes, parts = [], []
    for tensor in tensors:
        # TensorFlow's own form has a limit of 2 GiB, so it is only for what has no plain bytes.
        is_plain = tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool
        parts.append(np.asarray(tensor).tobytes() if is_plain else serialized(tensor))
        shapes.append((tensor.shape.as_list() if is_plain else None, len(parts[-1])))
    head = msgspec.msgpack.encode(shapes)
    return b"".join([len(head).to_bytes(_LENGTH_BYTES), head, *parts])


def decoded(data: bytes, entries: Sequence[TensorEntry]) -> list[tf.Tensor]:
    """Return the tensors that `encoded` has turned into bytes."""
    view = memoryview(data)
    at = _LENGTH_BYTES + int.from_bytes(view[:_LENGTH_BYTES])
    head = view[_LENGTH_BYTES:at]
    found = []
    for entry, (shape, length) in zip(
        entries,
        msgspec.msgpack.decode(head, type=list[tuple[list[int] | None, int]]),
        strict=True,
    ):
        part = view[at : at + length]
        at += length
        if shape is None:
            found.append(parsed(bytes(part), entry.dtype))
            continue
        with tf.device("CPU:0"):
            plain = np.frombuffer(part, tf.as_dtype(entry.dtype).as_numpy_dtype)
            found.append(tf.constant(plain.reshape(shape)))
    return found
