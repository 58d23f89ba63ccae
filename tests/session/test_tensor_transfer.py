"""Tensors travel to other workers in small groups, with their bits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.session import tensor_transfer
from ckptkit.session.tensor_transfer import groups, receive, send
from ckptkit.workers.coordinated import Coordinated
from tests.support.key_values import SharedKeyValues


def entry_of(key: str, tensor: tf.Tensor) -> TensorEntry:
    shape = tuple(tensor.shape.as_list())
    return TensorEntry(key=key, kind="variable", path=key, shape=shape, dtype=tensor.dtype.name)


def test_values_of_all_types_arrive_and_the_store_is_small(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tensor_transfer, "GROUP_BYTES", 1000)
    draw = np.random.default_rng(seed)
    tensors = [
        *(tf.constant(draw.random(size), tf.float32) for size in (10, 200, 0, 3, 300)),
        tf.constant(draw.random((3, 4)), tf.bfloat16),
        tf.constant(float("nan"), tf.float64),
        tf.constant([1 + 2j], tf.complex64),
        tf.constant([True, False]),
        tf.constant(["text", b"\xff"]),
        tf.constant(draw.integers(0, 9, (2, 2, 2)), tf.int64),
    ]
    entries = [entry_of(f"a/weights/{n}", each) for n, each in enumerate(tensors)]
    values = dict(zip((each.key for each in entries), tensors, strict=True))
    store, most = SharedKeyValues(), 0

    def read(group: list[TensorEntry]) -> list[tf.Tensor]:
        nonlocal most
        most = max(most, len(store.keys))
        return [values[each.key] for each in group]

    def one(rank: int) -> Any:
        cluster = Coordinated(rank, 3, store, "job")
        if rank == 0:
            return send(cluster, "restore", entries, read, [1, 2], 10.0)
        return receive(cluster, "restore", entries, 10.0)

    with ThreadPoolExecutor(3) as pool:
        _, *received = pool.map(one, range(3))
    assert len(groups(entries)) == 3
    assert most == len(store.keys) == 0
    for found in received:
        assert list(found) == list(values)
        for key, tensor in values.items():
            assert found[key].dtype == tensor.dtype
            assert found[key].shape == tensor.shape
            assert found[key].numpy().tobytes() == tensor.numpy().tobytes() or (
                tensor.dtype == tf.string and (found[key] == tensor).numpy().all()
            )
