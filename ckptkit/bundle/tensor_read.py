"""Reads the tensors of a checkpoint on several threads, while the program does something else."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from ckptkit.bundle.bundle_check import check_bundle
from ckptkit.bundle.tensor_bundle import SUFFIX, judging_tensorflow, read_tensors, restore
from ckptkit.errors import ThreadRefusedError
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.threads import start_thread

GROUP_BYTES = 32 * 1024 * 1024
"""The tensors that one operation reads, in bytes.

A reading that is closed waits for at most one group on each thread.
"""

_MOST_THREADS = 4
"""More threads than this read no faster: they wait for the same disk and the same memory."""


def read_in_parallel(prefix: Path, entries: Sequence[TensorEntry]) -> list[tf.Tensor]:
    """Read tensors on several threads if they are large; as `read_tensors` otherwise."""
    if sum(entry.size_bytes for entry in entries) <= GROUP_BYTES:
        return read_tensors(prefix, entries)
    return TensorRead(prefix, entries).start().tensors()


class TensorRead:
    """Reads tensors that a manifest lists, from `start` to `tensors` or `close`.

    Most of the time goes into fresh memory for the values, which two threads get in half the time.
    TensorFlow compares each value with its checksum.

    Args:
        prefix: the path and name of the files, without their suffixes.
        entries: the tensors to read.
    """

    def __init__(self, prefix: Path, entries: Sequence[TensorEntry]) -> None:
        self._prefix, self._entries = prefix, tuple(entries)
        self._groups = _grouped(self._entries)
        self._values: list[tf.Tensor | None] = [None] * len(self._entries)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._next = 0
        self._stop = threading.Event()
        self._error: BaseException | None = None

    def start(self) -> TensorRead:
        """Start to read; if the system refuses a thread, `tensors` reads the rest.

        Returns:
            This object.
        """
        for number in range(min(_MOST_THREADS, os.cpu_count() or 1, len(self._groups))):
            try:
                self._threads.append(start_thread(self._read, f"ckptkit-read-{number}"))
            except ThreadRefusedError:
                break
        return self

    def tensors(self) -> list[tf.Tensor]:
        """Wait until everything is read, and return the values in the order of the entries.

        Raises:
            CorruptCheckpointError: If a file is damaged or a value is missing.
            StorageError: If reading failed for another reason.
        """
        self._read()
        self._join()
        with judging_tensorflow(self._prefix):
            if self._error is not None:
                raise self._error
            return list(self._values)

    def close(self) -> None:
        """Stop reading, and free what was read."""
        self._stop.set()
        self._join()
        self._values = []

    def _join(self) -> None:
        while self._threads:
            self._threads.pop().join()

    def _read(self) -> None:
        try:
            with self._lock:
                check_bundle(self._prefix)  # its index is parsed once, by the first thread
            while (group := self._take()) is not None:
                self._read_group(group)
        except BaseException as error:  # raised by `tensors`
            self._error = self._error or error
            self._stop.set()

    def _take(self) -> range | None:
        with self._lock:
            if self._stop.is_set() or self._next >= len(self._groups):
                return None
            self._next += 1
            return self._groups[self._next - 1]

    def _read_group(self, group: range) -> None:
        entries = self._entries[group.start : group.stop]
        keys = [entry.key + SUFFIX for entry in entries]
        check_bundle(self._prefix, keys)
        dtypes = [tf.as_dtype(entry.dtype) for entry in entries]
        self._values[group.start : group.stop] = restore(self._prefix, keys, dtypes)


def _grouped(entries: Sequence[TensorEntry]) -> list[range]:
    """Return the entries as consecutive groups of about `GROUP_BYTES`."""
    groups, start, size_bytes = [], 0, 0
    for number, entry in enumerate(entries):
        size_bytes += entry.size_bytes
        if size_bytes >= GROUP_BYTES:
            groups.append(range(start, number + 1))
            start, size_bytes = number + 1, 0
    if start < len(entries):
        groups.append(range(start, len(entries)))
    return groups
