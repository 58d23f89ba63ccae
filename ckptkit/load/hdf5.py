"""Reads HDF5 files from untrusted sources safely.

Links out of a file are not followed, and a declared size must match the stored bytes.
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

from ckptkit.errors import CheckpointError, CorruptCheckpointError
from ckptkit.load.keras_archive import ZIP_ERRORS
from ckptkit.log import size
from ckptkit.storage.proof_of_damage import judging

WEIGHTS = "model.weights.h5"
"""The member of a .keras file with the weights."""

_SMALL_BYTES = 16 * 1024 * 1024
_MOST_EXPANSION = 1000
_MOST_ZIPPED = 100
_MOST_GROUPS = 1_000_000


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file, or the one inside a .keras file.

    Args:
        path: the HDF5 or .keras file.

    Raises:
        CorruptCheckpointError: If the file, or what the block reads from it, is damaged.
        StorageError: If the system refuses to read.
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
    """Turn exceptions of h5py and zipfile about damaged files into one error.

    Raises:
        CorruptCheckpointError: If the file is damaged.
        StorageError: If the system refuses to read.
    """
    try:
        with judging(path, path.name), _damage(path):
            yield
    except RecursionError as error:
        raise CorruptCheckpointError(f"{path} is nested too deeply to be read.") from error


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise  # some of ckptkit's errors are ValueErrors too
    # h5py raises a plain ValueError for an unknown type or size.
    except (*ZIP_ERRORS, KeyError, ValueError, OverflowError) as error:
        raise CorruptCheckpointError(
            f"{path} is damaged and cannot be read: {_first_line(error)}", "unreadable", path.name
        ) from error
    except OSError as error:
        # h5py reports damage as an OSError without a number. EINVAL comes from a file or archive
        # that names an offset before its beginning. All other numbers are the system's own.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise CorruptCheckpointError(
            f"{path} is damaged and cannot be read: {_first_line(error)}", "unreadable", path.name
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


@contextmanager
def archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a .keras file as a zip archive.

    Raises:
        CorruptCheckpointError: If the archive, or what the block reads from it, is damaged.
        StorageError: If the system refuses to read.
    """
    with readable(path), zipfile.ZipFile(path) as zipped:
        yield zipped


def member(
    zipped: zipfile.ZipFile, path: Path, name: str, most_bytes: int | None = None
) -> zipfile.ZipInfo:
    """Return a member of a .keras file whose declared size is plausible.

    Raises:
        CorruptCheckpointError: If the member is missing, or declares far more bytes than are
            stored.
    """
    if name not in zipped.namelist():
        raise CorruptCheckpointError(
            f"{path} is not a complete .keras file: it does not contain {name}.", "missing", name
        )
    info = zipped.getinfo(name)
    too_large = most_bytes is not None and info.file_size > most_bytes
    if too_large or (
        info.file_size > _SMALL_BYTES and info.file_size > _MOST_ZIPPED * info.compress_size
    ):
        raise CorruptCheckpointError(
            f"{name} in {path} declares {size(info.file_size)}, but only "
            f"{size(info.compress_size)} are stored. Such a file is not unpacked.",
            "size",
            name,
        )
    return info


def group_at(parent: Any, name: str) -> Any:
    """Return a group stored in this file, or None if it is missing.

    Raises:
        CorruptCheckpointError: If it is a link, or not a group.
    """
    found = parent
    for part in name.split("/"):
        if part not in found:
            return None
        found = _own(found, part)
        if not isinstance(found, h5py.Group):
            raise CorruptCheckpointError(
                f"{_where(found)} is not an HDF5 group. Keras stores the weights of a layer in one."
            )
    return found


def dataset_at(group: Any, name: str) -> Any:
    """Return a dataset stored in this file, of plausible size.

    Raises:
        CorruptCheckpointError: If it is missing, is a link, keeps its values in another file, or
            declares far more bytes than are stored.
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
            f"{_where(found)} is not an HDF5 dataset. Keras stores the values of a weight in one."
        )
    check_dataset(found)
    return found


def check_dataset(dataset: Any) -> None:
    """Check that a dataset's values are in this file and match its declared size.

    Raises:
        CorruptCheckpointError: If they are not, or do not match.
    """
    if dataset.external or dataset.is_virtual:
        raise CorruptCheckpointError(
            f"{_where(dataset)} keeps its values in another file. Expected values in this file; "
            "links are not followed."
        )
    if dataset.shape is None:
        raise CorruptCheckpointError(
            f"{_where(dataset)} is empty. Expected the values of a weight."
        )
    if dataset.dtype.hasobject:
        raise CorruptCheckpointError(
            f"{_where(dataset)} holds {dataset.dtype}, not numbers. Expected the values of a "
            "weight."
        )
    declared, stored = (
        math.prod(dataset.shape) * dataset.dtype.itemsize,
        dataset.id.get_storage_size(),
    )
    if declared > _SMALL_BYTES and declared > _MOST_EXPANSION * stored:
        raise CorruptCheckpointError(
            f"{_where(dataset)} declares the shape {dataset.shape}, which is {size(declared)}, but "
            f"only {size(stored)} are stored. Such a dataset is not read.",
            "size",
        )


def _own(parent: Any, name: str) -> Any:
    link = parent.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        target = f" to {link.filename}" if isinstance(link, h5py.ExternalLink) else ""
        raise CorruptCheckpointError(
            f"{parent.file.filename}: {parent.name.rstrip('/')}/{name} is a link{target} "
            f"({type(link).__name__}). Expected values in this file; links are not followed."
        )
    return parent[name]


def _where(found: Any) -> str:
    return f"{found.file.filename}: {found.name}"


def walk(group: Any) -> Iterator[Any]:
    """Yield every dataset below a group, each one checked.

    Raises:
        CorruptCheckpointError: If there is a link, or a dataset of implausible size.
    """
    to_visit, seen = [group], 0
    while to_visit:
        here = to_visit.pop()
        seen += 1
        if seen > _MOST_GROUPS:
            raise CorruptCheckpointError(
                f"{group.file.filename} has more than {_MOST_GROUPS:,} groups, or its groups form "
                "a circle."
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
    """Return TensorFlow's name of a dataset's type.

    HDF5 has no bfloat16. Keras notes that type in an attribute.
    """
    return "bfloat16" if dataset.attrs.get("dtype") == "bfloat16" else str(dataset.dtype.name)


def values(dataset: Any) -> Any:
    """Return a dataset's values as an array.

    Raises:
        CorruptCheckpointError: If the dataset is not plausible.
    """
    check_dataset(dataset)
    array = np.asarray(dataset[()])
    if dtype_of(dataset) != "bfloat16":
        return array
    if _is_two_bytes(array):
        return array.view(tf.bfloat16.as_numpy_dtype)
    if array.dtype.kind != "f":
        raise CorruptCheckpointError(
            f"{_where(dataset)} is marked as bfloat16, but has values of the type {array.dtype}."
        )
    return array.astype(tf.bfloat16.as_numpy_dtype)


def _is_two_bytes(array: Any) -> bool:
    """Return whether the type is two opaque bytes, the form in which HDF5 stores bfloat16."""
    return bool(array.dtype == np.dtype("V2"))


def values_as(dataset: Any, dtype: str) -> Any:
    """Return a dataset's values converted to a variable's type.

    Integers and floating-point numbers may have a different width.

    Args:
        dataset: the HDF5 dataset.
        dtype: TensorFlow's name of the variable's type.

    Raises:
        CorruptCheckpointError: If the dataset is not plausible, or holds another kind of value:
            text, records, or fractions for an integer variable.
    """
    array, wanted = values(dataset), tf.as_dtype(dtype)
    if wanted == tf.bfloat16 and _is_two_bytes(array):
        return array.view(wanted.as_numpy_dtype)
    try:
        found = tf.as_dtype(array.dtype)
    except TypeError:  # a type that TensorFlow does not have, such as records
        found = None
    if found is None or not (
        found == wanted
        or (found.is_integer and wanted.is_integer)
        or (found.is_floating and wanted.is_floating)
    ):
        raise CorruptCheckpointError(
            f"{_where(dataset)} has values of the wrong type. Expected {wanted.name} or a similar "
            f"type. Received: {dataset.dtype}."
        )
    return array.astype(wanted.as_numpy_dtype)


def names(group: Any, attribute: str) -> list[str]:
    """Return a list of names stored in a group's attribute.

    Keras splits a long list into `<attribute>0`, `<attribute>1`, and so on.

    Raises:
        CorruptCheckpointError: If the attribute is not a list of names.
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
    # Keras writes an empty list as an empty list of numbers.
    if (
        not isinstance(found, np.ndarray)
        or found.ndim != 1
        or (found.size and found.dtype.kind not in "SUO")
    ):
        raise CorruptCheckpointError(
            f"{_where(group)}: the attribute {attribute} is not a list of names. Received: "
            f"{str(found)[:100]!r}."
        )
    return list(found)


def text(group: Any, attribute: str) -> str | None:
    """Return a group's attribute as text, or None if it is missing."""
    found = group.attrs.get(attribute)
    return found.decode() if isinstance(found, bytes) else None if found is None else str(found)
