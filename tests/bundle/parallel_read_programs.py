"""Programs that read several groups of tensors, for `test_tensor_read.py`."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

from ckptkit.bundle import tensor_bundle, tensor_read
from ckptkit.errors import CorruptCheckpointError, ThreadRefusedError
from ckptkit.run.tensor_entry import TensorEntry
from tests.support.polling import until

TYPES = ["float32", "int64", "bfloat16", "bool", "string", "complex64", "uint8"]


def written(directory: str, seed: int) -> tuple[Path, dict[str, tuple[TensorEntry, tf.Tensor]]]:
    """Write tensors of all types and of several sizes, in a random order."""
    rng = random.Random(seed)
    tensors = {}
    for number in range(40):
        kind, size = rng.choice(TYPES), rng.choice([0, 1, 7, 500])
        drawn = [rng.randrange(2) for _ in range(size)]
        value = tf.constant(drawn, "int64", (size,))
        value = tf.strings.as_string(value) if kind == "string" else tf.cast(value, kind)
        key = f"value/variables/{number}"
        entry = TensorEntry(key=key, kind="variable", path=key, shape=(size,), dtype=kind)
        tensors[key] = (entry, value)
    tensor_bundle.write_tensors(SimpleNamespace(tensors=tensors), Path(directory), 3, {})
    return Path(directory) / "ckpt-3", tensors


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("ckptkit-read")]


def groups(directory: str, seed: int) -> list[Any]:
    """Read the same tensors in groups of several sizes, also if threads are refused."""
    prefix, tensors = written(directory, seed)
    entries = [entry for entry, _ in tensors.values()]
    same = []

    def read(size: int) -> None:
        found = tensor_read.read_in_parallel(prefix, entries, size)
        same.append(
            len(found) == len(entries)
            and all(
                a.dtype == b.dtype and np.array_equal(a.numpy(), b.numpy())
                for a, (_, b) in zip(found, tensors.values(), strict=True)
            )
        )

    started = tensor_read.start_thread
    counted = mock.patch.object(tensor_read, "start_thread", side_effect=started)
    cores = mock.patch.object(tensor_read.os, "cpu_count", return_value=4)
    with counted as starts, cores:
        count = []
        for size in (1, 100, 3000, 1 << 30):
            before = starts.call_count
            read(size)
            count.append(starts.call_count - before)
    for results in (
        [ThreadRefusedError("no")],
        [started(lambda: None, "ckptkit-read-x"), ThreadRefusedError("no")],
    ):
        with mock.patch.object(tensor_read, "start_thread", side_effect=results), cores:
            read(100)
    return [same, count, threads()]


def error_in_a_later_group(directory: str, seed: int) -> list[Any]:
    """One group of several is damaged; what the others have read is freed."""
    prefix, tensors = written(directory, seed)
    entries = [entry for entry, _ in tensors.values()]
    restore, calls, read = tensor_read.restore, [], []

    def failing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise tf.errors.DataLossError(None, None, "checksum")
        values = [Value(each) for each in restore(*arguments)]
        read.extend(map(weakref.ref, values))
        return values

    class Value:
        def __init__(self, tensor: tf.Tensor) -> None:
            self.tensor = tensor

    gc.disable()  # what a cycle keeps would stay until the collector runs
    kept = None
    with mock.patch.object(tensor_read, "restore", failing):
        try:
            tensor_read.read_in_parallel(prefix, entries, 1)
        except CorruptCheckpointError as error:
            kept = error
    until(lambda: not threads())
    return [kept.damage, len(calls) < 10, [each for each in read if each() is not None]]


def interrupted(directory: str, seed: int) -> list[Any]:
    """A signal's handler raises an exception while threads are waited for: they end soon."""
    prefix, tensors = written(directory, seed)
    entries = [entry for entry, _ in tensors.values()]
    restore, calls, go = tensor_read.restore, [], threading.Event()

    def slow(*arguments: Any) -> Any:
        calls.append(arguments)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        go.wait(60)
        return restore(*arguments)

    join = mock.patch.object(threading.Thread, "join", side_effect=KeyboardInterrupt)
    ended = ""
    with mock.patch.object(tensor_read, "restore", slow), join:
        try:
            tensor_read.read_in_parallel(prefix, entries, 1)
        except KeyboardInterrupt:
            ended = "interrupted"
        go.set()
        until(lambda: not threads())
    return [ended, len(calls) < 10]
