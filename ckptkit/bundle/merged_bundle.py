"""Writes a checkpoint of TensorFlow in parts, and joins parts from several saves into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from ckptkit.bundle.tensor_bundle import save, writing_in
from ckptkit.layout import PREFIX


def write_parts(
    parts: Sequence[Mapping[str, tf.Tensor]], directory: Path, first: int = 0
) -> list[bytes]:
    """Write the parts of a checkpoint, each with its own index, for `merge_parts`.

    Args:
        parts: the tensors of each part, by their keys in TensorFlow's files.
        directory: the directory, which must exist.
        first: the number of the first part.

    Returns:
        The index of each part; its files are `part-<number>.*`.

    Raises:
        StorageError: if the disk refuses.
    """
    with writing_in(directory) as plain:
        for number, tensors in enumerate(parts, first):
            save(tensors, plain / part_name(number))
        numbers = range(first, first + len(parts))
        return [(plain / part_index(number)).read_bytes() for number in numbers]


def merge_parts(shared: Sequence[bytes], count: int, directory: Path, step: int) -> None:
    """Join the parts `part-<number>.*` in a directory into the checkpoint `ckpt-<step>`.

    The data files only get other names. Part 0 becomes `ckpt-<step>.data-00000-of-<count>`.

    Args:
        shared: the indexes of the first parts, whose data files are there already.
        count: the number of all parts.
        directory: the directory.
        step: the number in the files' names.

    Raises:
        StorageError: if the disk refuses.
    """
    with writing_in(directory) as plain, tf.device("CPU:0"):
        # Not synced: TensorFlow reads them now, and deletes them.
        for number, index in enumerate(shared):
            (plain / part_index(number)).write_bytes(index)
        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=[str(plain / part_name(number)) for number in range(count)],
            destination_prefix=str(plain / f"{PREFIX}-{step}"),
            delete_old_dirs=False,
        )


def part_name(number: int) -> str:
    """Return the name of a part's files without suffixes; see `write_parts`."""
    return f"part-{number}"


def part_index(number: int) -> str:
    """Return the name of a part's index; see `write_parts`."""
    return f"{part_name(number)}.index"


def part_data(number: int) -> str:
    """Return the name of a part's data file; see `write_parts`."""
    return data_file(part_name(number), 0, 1)


def data_file(name: str, number: int, count: int) -> str:
    """Return TensorFlow's name of a data file.

    Args:
        name: the name of the checkpoint's files without suffixes.
        number: the number of the data file, from 0.
        count: the number of data files.
    """
    return f"{name}.data-{number:05d}-of-{count:05d}"
