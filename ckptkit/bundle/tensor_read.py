"""Reads the tensors of a checkpoint on several threads."""

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
"""The tensors that one operation reads, in bytes."""

_MOST_THREADS = 4
"""More threads than this read no faster: they wait for the same disk and the same memory."""


def read_in_parallel(
    prefix: Path, entries: Sequence[TensorEntry], group_bytes: int = GROUP_BYTES
) -> list[tf.Tensor]:
    """Read tensors on several threads if they are large; as `read_tensors` otherwise.

    Most of the time goes into fresh memory for the values, which two threads get in half the time.
    TensorFlow compares each value with its checksum.

    Args:
        prefix: the path and name of the files, without their suffixes.
        entries: the tensors to read.
        group_bytes: the size of the tensors that one operation reads, about.

    Raises:
        CorruptCheckpointError: If a file is damaged or a value is missing.
        StorageError: If reading failed for another reason.
    """
    groups = _grouped(entries, group_bytes)
    if len(groups) < 2:
        return read_tensors(prefix, entries)
    with judging_tensorflow(prefix):
        check_bundle(prefix)  # the index is parsed once, before the threads use it
        return _ParallelRead(prefix, entries, groups).tensors()


class _ParallelRead:
    """Reads groups of tensors on threads and on the calling thread, until all are read."""

    def __init__(
        self, prefix: Path, entries: Sequence[TensorEntry], groups: Sequence[range]
    ) -> None:
        self._prefix, self._entries = prefix, entries
        self._groups, self._lock = iter(groups), threading.Lock()
        self._count = len(groups)
        self._values: list[tf.Tensor | None] = [None] * len(entries)
        self._stop = threading.Event()
        self._error: BaseException | None = None

    def tensors(self) -> list[tf.Tensor]:
        """Read everything, and return the values in the order of the entries; call it once."""
        threads = []
        try:
            for number in range(min(_MOST_THREADS, os.cpu_count() or 1, self._count) - 1):
                try:
                    threads.append(start_thread(self._read, f"ckptkit-read-{number}"))
                except ThreadRefusedError:
                    break  # this thread reads the rest
            self._read()
            for thread in threads:
                thread.join()
        finally:
            # A signal's handler may raise an exception here; the threads then end by themselves.
            self._stop.set()
            # Not kept by an error, whose traceback refers to this object.
            values, self._values = self._values, []
            error, self._error = self._error, None
        if error is not None:
            values.clear()
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        return values

    def _read(self) -> None:
        try:
            while not self._stop.is_set() and (group := self._take()) is not None:
                self._read_group(group, self._values)
        except BaseException as error:  # raised by `tensors`
            self._error = self._error or error
            self._stop.set()

    def _take(self) -> range | None:
        with self._lock:
            return next(self._groups, None)

    def _read_group(self, group: range, values: list[tf.Tensor | None]) -> None:
        entries = self._entries[group.start : group.stop]
        keys = [entry.key + SUFFIX for entry in entries]
        check_bundle(self._prefix, keys)
        dtypes = [tf.as_dtype(entry.dtype) for entry in entries]
        values[group.start : group.stop] = restore(self._prefix, keys, dtypes)


def _grouped(entries: Sequence[TensorEntry], group_bytes: int) -> list[range]:
    """Return the entries as consecutive groups of about so many bytes."""
    groups, start, size_bytes = [], 0, 0
    for number, entry in enumerate(entries):
        size_bytes += entry.size_bytes
        if size_bytes >= group_bytes:
            groups.append(range(start, number + 1))
            start, size_bytes = number + 1, 0
    if start < len(entries):
        groups.append(range(start, len(entries)))
    return groups
