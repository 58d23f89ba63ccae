"""Splits random datasets for replicas, as the package does and as TensorFlow does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.data.split_batch import splitter
from tests.campaigns.replicas.devices import mirrored


def splits(seed: int, directory: str) -> list[tuple[str, Any, Any]]:
    """Return for each dataset its description, our parts and those of TensorFlow."""
    mirrored(8)
    chance = random.Random(seed)
    found = []
    for devices in (2, 4, 8):
        strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(devices)])
        for policy in ("OFF", "AUTO", chance.choice(("DATA", "FILE"))):
            for kind in ("text", chance.choice(("range", "slices", "padded", "unknown"))):
                rows, size = chance.randrange(1, 40), chance.randrange(1, 20)
                rest = chance.random() < 0.3 and rows >= size
                data = _dataset(kind, rows, size, rest, Path(directory))
                options = tf.data.Options()
                options.experimental_distribute.auto_shard_policy = getattr(
                    tf.data.experimental.AutoShardPolicy, policy
                )
                data = data.with_options(options)
                split = splitter(data, strategy)
                found.append(
                    (
                        f"{devices=} {policy=} {kind=} {rows=} {size=} {rest=}",
                        [_local(strategy, split(batch)) for batch in data],
                        [
                            _local(strategy, b)
                            for b in strategy.experimental_distribute_dataset(data)
                        ],
                    )
                )
    others = splitter([], strategy)(tf.range(9))
    found.append(("a list of 9 rows", [len(p) for p in _local(strategy, others)], [2] + [1] * 7))
    return found


def _dataset(kind: str, rows: int, size: int, rest: bool, directory: Path) -> tf.data.Dataset:
    if kind == "text":
        file = directory / f"{rows}.txt"
        file.write_text("".join(f"{number}\n" for number in range(rows)))
        return tf.data.TextLineDataset(str(file)).batch(size, drop_remainder=rest)
    if kind == "slices":
        return tf.data.Dataset.from_tensor_slices(tf.range(rows)).batch(size, drop_remainder=rest)
    data = tf.data.Dataset.range(rows)
    if kind == "padded":
        return data.padded_batch(size, drop_remainder=rest)
    data = data.batch(size, drop_remainder=rest)
    if kind == "range":
        return data.prefetch(1)
    return tf.data.Dataset.from_generator(
        lambda: iter(data), output_signature=tf.TensorSpec((None,), tf.int64)
    )


def _local(strategy: Any, value: Any) -> list[list[Any]]:
    return [
        part.numpy().astype(int).tolist() for part in strategy.experimental_local_results(value)
    ]
