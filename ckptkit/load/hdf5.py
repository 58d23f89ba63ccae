"""Reading HDF5 files that somebody else may have made: no link out of the file is followed, and no
size is believed that the file does not hold.
"""

from __future__ import annotations

import errno
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from ckptkit.errors import CorruptCheckpointError
from ckptkit.load.keras_archive import ZIP_ERRORS
from ckptkit.log import size
from ckptkit.storage.files import storage_errors

WEIGHTS = "model.weights.h5"
"""The member of a .keras file that holds the weights."""

_SMALL_BYTES = 16 * 1024 * 1024
_MOST_EXPANSION = 1000
_MOST_ZIPPED = 100
_MOST_GROUPS = 1_000_000


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file, or the one inside a .keras file.

    Args:
        path: of either.

    Raises:
        CorruptCheckpointError: where it cannot be read as one; also for what the block meets in it.
        StorageError: where the system refuses.
    """
    with readable(path):
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                yield file
            return
        with (
            archive(path) as zipped,
            zipped.open(member(zipped, path, WEIGHTS)) as inner,
            h5py.File(inner, "r") as file,
        ):
            yield file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what h5py and zipfile raise over damaged files into one kind of error.

    Raises:
        CorruptCheckpointError: for it.
        StorageError: where the system refuses.
    """
    try:
        with storage_errors("read", path), _damage(path):
            yield
    except RecursionError as error:
        raise CorruptCheckpointError(f"{path} is nested too deeply to be read.") from error


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (*ZIP_ERRORS, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise CorruptCheckpointError(
            f"{path} is damaged and cannot be read: {_first_line(error)}", "unreadable", path.name
        ) from error
    except (
        OSError
    ) as error:  # EINVAL: a place before the beginning of the file, which an archive names
        if (
            error.errno not in (None, errno.EINVAL)
            and error.strerror
            and "h5" not in str(error).lower()
            and "unable to" not in str(error).lower()
        ):
            raise
        raise CorruptCheckpointError(
            f"{path} is damaged and cannot be read: {_first_line(error)}", "unreadable", path.name
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


@contextmanager
def archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A .keras file as the archive that it is.

    Raises:
        CorruptCheckpointError: where it is none; also for what the block meets in it.
        StorageError: where the system refuses.
    """
    with readable(path), zipfile.ZipFile(path) as zipped:
        yield zipped


def member(
    zipped: zipfile.ZipFile, path: Path, name: str, most_bytes: int | None = None
) -> zipfile.ZipInfo:
    """A member of a .keras file whose size can be believed.

    Raises:
        CorruptCheckpointError: where it is not there, or says that it is far larger than what is
            stored of it.
    """
    if name not in zipped.namelist():
        raise CorruptCheckpointError(
            f"{path} has no {name} in it, so it is no whole .keras file.", "missing", name
        )
    info = zipped.getinfo(name)
    too_large = most_bytes is not None and info.file_size > most_bytes
    if too_large or (
        info.file_size > _SMALL_BYTES and info.file_size > _MOST_ZIPPED * info.compress_size
    ):
        raise CorruptCheckpointError(
            f"{name} in {path} says that it has {size(info.file_size)}, of which "
            f"{size(info.compress_size)} are stored. "
            f"Such a file is not unpacked.",
            "size",
            name,
        )
    return info


def group_at(parent: Any, name: str) -> Any:
    """A group that lies in this very file, or None where it is not there.

    Raises:
        CorruptCheckpointError: where it is a link, or no group.
    """
    found = parent
    for part in name.split("/"):
        if part not in found:
            return None
        found = _own(found, part)
        if not isinstance(found, h5py.Group):
            raise CorruptCheckpointError(
                f"{_where(found)} is no group. Expected one of Keras' groups of weights."
            )
    return found


def dataset_at(group: Any, name: str) -> Any:
    """A dataset that lies in this very file, with a size that can be believed.

    Raises:
        CorruptCheckpointError: where it is not there, is a link, has its values in another file, or
            says that it is far larger than what is stored.
    """
    parent = group
    *parts, last = name.split("/")
    if parts:
        parent = group_at(group, "/".join(parts))
    if parent is None or last not in parent:
        raise CorruptCheckpointError(
            f"{group.file.filename} has no dataset {group.name}/{name}.", "missing", name
        )
    found = _own(parent, last)
    if not isinstance(found, h5py.Dataset):
        raise CorruptCheckpointError(
            f"{_where(found)} is no dataset. Expected the values of a weight."
        )
    check_dataset(found)
    return found


def check_dataset(dataset: Any) -> None:
    """Checks that a dataset's values are in this file, and as many as it says.

    Raises:
        CorruptCheckpointError: where not.
    """
    if dataset.external or dataset.is_virtual:
        raise CorruptCheckpointError(
            f"{_where(dataset)} has its values in another file, and none is followed. Expected "
            "values in this file."
        )
    if dataset.shape is None or dataset.dtype.hasobject:
        raise CorruptCheckpointError(
            f"{_where(dataset)} has no numbers in it (type {dataset.dtype}). Expected the values "
            "of a weight."
        )
    declared, stored = (
        math.prod(dataset.shape) * dataset.dtype.itemsize,
        dataset.id.get_storage_size(),
    )
    if declared > _SMALL_BYTES and declared > _MOST_EXPANSION * stored:
        raise CorruptCheckpointError(
            f"{_where(dataset)} declares the shape {dataset.shape}, which is {size(declared)}; "
            f"{size(stored)} are stored. "
            f"Such a dataset is not read.",
            "size",
        )


def _own(parent: Any, name: str) -> Any:
    link = parent.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        target = f" to {link.filename}" if isinstance(link, h5py.ExternalLink) else ""
        raise CorruptCheckpointError(
            f"{parent.file.filename}: {parent.name.rstrip('/')}/{name} is a link{target} "
            f"({type(link).__name__}), and "
            f"none is followed. Expected values in this file."
        )
    return parent[name]


def _where(found: Any) -> str:
    return f"{found.file.filename}: {found.name}"


def walk(group: Any) -> Iterator[Any]:
    """Every dataset below a group, each checked.

    Raises:
        CorruptCheckpointError: where there is a link, or a size that cannot be believed.
    """
    to_visit, seen = [group], 0
    while to_visit:
        here = to_visit.pop()
        seen += 1
        if seen > _MOST_GROUPS:
            raise CorruptCheckpointError(
                f"{group.file.filename} has more than {_MOST_GROUPS:,} groups, or a circle of them."
            )
        inner = []
        for name in here:
            found = _own(here, name)
            if isinstance(found, h5py.Group):
                inner.append(found)
            elif isinstance(found, h5py.Dataset):
                check_dataset(found)
                yield found
        to_visit.extend(reversed(inner))


def dtype_of(dataset: Any) -> str:
    """TensorFlow's name of a dataset's type; Keras notes bfloat16 beside it, which HDF5 does not
    know.
    """
    return "bfloat16" if dataset.attrs.get("dtype") == "bfloat16" else str(dataset.dtype.name)


def values(dataset: Any) -> Any:
    """A dataset's values as an array.

    Raises:
        CorruptCheckpointError: where they cannot be believed.
    """
    check_dataset(dataset)
    array = np.asarray(dataset[()])
    if dtype_of(dataset) != "bfloat16":
        return array
    if _is_two_bytes(array):
        return array.view(tf.bfloat16.as_numpy_dtype)
    if array.dtype.kind != "f":
        raise CorruptCheckpointError(
            f"{_where(dataset)} says that it is bfloat16, and has values of the type {array.dtype}."
        )
    return array.astype(tf.bfloat16.as_numpy_dtype)


def _is_two_bytes(array: Any) -> bool:
    """All that HDF5 knows of bfloat16."""
    return bool(array.dtype == np.dtype("V2"))


def values_as(dataset: Any, dtype: str) -> Any:
    """A dataset's values as an array of a variable's type. Whole numbers may have another width,
    and so may fractions.

    Args:
        dataset: the values.
        dtype: TensorFlow's name of the variable's type.

    Raises:
        CorruptCheckpointError: where they cannot be believed, or are of another kind: texts,
            records, fractions for a whole number.
    """
    array, wanted = values(dataset), tf.as_dtype(dtype)
    if wanted == tf.bfloat16 and _is_two_bytes(array):
        return array.view(wanted.as_numpy_dtype)
    try:
        found = tf.as_dtype(array.dtype)
    except TypeError:  # no type of TensorFlow's: records, say
        found = None
    if found is None or not (
        found == wanted
        or (found.is_integer and wanted.is_integer)
        or (found.is_floating and wanted.is_floating)
    ):
        raise CorruptCheckpointError(
            f"{_where(dataset)} has values of the type {dataset.dtype}. Expected {wanted.name}, "
            "or the like of it."
        )
    return array.astype(wanted.as_numpy_dtype)


def names(group: Any, attribute: str) -> list[str]:
    """A list of names among a group's attributes; Keras cuts a long one into `<attribute>0`,
    `<attribute>1`, ...

    Raises:
        CorruptCheckpointError: where it is something else than a list of names.
    """
    found: list[Any] = []
    if attribute in group.attrs:
        found = _list(group, attribute)
    else:
        number = 0
        while f"{attribute}{number}" in group.attrs:
            found += _list(group, f"{attribute}{number}")
            number += 1
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


def _list(group: Any, attribute: str) -> list[Any]:
    found = group.attrs[attribute]
    # An empty list has been written as one of numbers.
    if (
        not isinstance(found, np.ndarray)
        or found.ndim != 1
        or (found.size and found.dtype.kind not in "SUO")
    ):
        raise CorruptCheckpointError(
            f"{_where(group)}: the attribute {attribute} is no list of names. Received: "
            f"{str(found)[:100]!r}."
        )
    return list(found)


def text(group: Any, attribute: str) -> str | None:
    """A text among a group's attributes."""
    found = group.attrs.get(attribute)
    return found.decode() if isinstance(found, bytes) else None if found is None else str(found)
