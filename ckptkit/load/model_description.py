"""Describes a model or weights on disk, without running code or reading values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.bundle.tensor_bundle import SUFFIX, open_reader
from ckptkit.compat import tf_checkpoint, tf_functions
from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError
from ckptkit.exports.version_directories import versions_in
from ckptkit.load import hdf5
from ckptkit.load.checkpoint_weights import VARIABLES
from ckptkit.load.formats import SAVED_MODEL, Format, FoundFormat
from ckptkit.load.keras_files import legacy_group
from ckptkit.load.model_loading import CONFIG, MEMBER, TRAINING_CONFIG
from ckptkit.storage.files import read_bounded, storage_errors
from ckptkit.storage.proof_of_damage import judging

_MOST_BYTES = 64 * 1024 * 1024
_MOST_GRAPH_BYTES = 1 << 31
_METADATA = "metadata.json"


@dataclass(frozen=True)
class Variable:
    """A saved variable.

    Args:
        name: the key with which it is read.
        shape: its dimensions.
        dtype: TensorFlow's name of the type.
        size_bytes: size of its values; 0 if the type has no fixed size.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """The description of the model or weights at a path.

    Args:
        format: name of the format.
        path: the described path.
        size_bytes: total size of its files.
        model: class of the model, or empty.
        compiled: whether the arguments of `compile` are stored.
        versions: versions of the libraries that wrote it, if stored.
        signatures: by name, each with `inputs` and `outputs`: shape and type by name.
        variables: in the order of the file.
        published: version numbers in the same directory, smallest first.
    """

    format: str
    path: Path
    size_bytes: int
    model: str = ""
    compiled: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    variables: tuple[Variable, ...] = ()
    published: tuple[int, ...] = ()


def describe(found: FoundFormat, version: int | None = None) -> Description:
    """Describe a file or directory that is not a run.

    Args:
        found: the result of `recognise`.
        version: for a directory of SavedModel versions, the one to describe; the default is the
            newest.

    Raises:
        CorruptCheckpointError: If it cannot be read.
        CheckpointNotFoundError: If there is no such version.
        ConfigError: If a version was named, but the format has none.
        StorageError: If the system refuses to read.
    """
    if version is not None and found.format is not Format.VERSIONS:
        raise ConfigError(
            f"{found.path} has no versions or steps (found: {found.format}). Received: "
            f"{version}; leave it out."
        )
    if found.format is Format.VERSIONS:
        versions = versions_in(found.path)
        if version is not None and version not in versions:
            raise CheckpointNotFoundError(
                f"{found.path} has no version {version}. Expected one of: "
                f"{', '.join(map(str, versions))}."
            )
        return _saved_model(
            versions[max(versions) if version is None else version], tuple(versions)
        )
    if found.format is Format.SAVED_MODEL:
        return _saved_model(found.path)
    if found.format is Format.CHECKPOINT:
        return Description(
            format=found.format,
            path=found.path,
            size_bytes=_sizes(found.path.parent.glob(f"{escape(found.path.name)}.*")),
            variables=_tensors(found.path),
        )
    return _keras(found.path) if found.format is Format.KERAS else _hdf5(found.path)


def _keras(path: Path) -> Description:
    with hdf5.archive(path) as zipped:
        config = _dictionary(path, zipped.read(hdf5.member(zipped, path, MEMBER, _MOST_BYTES)))
        has_metadata = _METADATA in zipped.namelist()
        metadata = (
            _dictionary(path, zipped.read(hdf5.member(zipped, path, _METADATA, _MOST_BYTES)))
            if has_metadata
            else {}
        )
    with hdf5.opened(path) as file:
        variables = tuple(_datasets(file))
    return Description(
        format=Format.KERAS,
        path=path,
        size_bytes=_sizes([path]),
        model=str(config.get("class_name", "")),
        compiled=bool(config.get("compile_config")),
        variables=variables,
        versions={"keras": str(metadata["keras_version"])} if "keras_version" in metadata else {},
    )


def _hdf5(path: Path) -> Description:
    with hdf5.opened(path) as file:
        config = hdf5.text(file, CONFIG)
        group = legacy_group(file)
        version = hdf5.text(file, "keras_version") or (
            hdf5.text(group, "keras_version") if group is not None else None
        )
        weights = (
            "weights in HDF5 (.weights.h5)" if group is None else "weights in HDF5 (.h5, by layers)"
        )
        return Description(
            format="whole model in HDF5 (.h5)" if config else weights,
            path=path,
            size_bytes=_sizes([path]),
            model=str(_dictionary(path, config).get("class_name", "")) if config else "",
            compiled=TRAINING_CONFIG in file.attrs,
            versions={"keras": version} if version else {},
            variables=tuple(_datasets(file)),
        )


def _saved_model(path: Path, published: tuple[int, ...] = ()) -> Description:
    try:
        with judging(path / SAVED_MODEL, SAVED_MODEL):
            content = read_bounded(path / SAVED_MODEL, _MOST_GRAPH_BYTES)
        signatures, version = tf_functions.signatures_in(content)
    except ValueError as error:
        raise CorruptCheckpointError(
            f"{path / SAVED_MODEL} is not a SavedModel: {error}.", "unreadable", SAVED_MODEL
        ) from error
    has_variables = (path / f"{VARIABLES}.index").is_file()
    with storage_errors("look at", path):
        files = [each for each in path.rglob("*") if each.is_file() and not each.is_symlink()]
    return Description(
        format=Format.SAVED_MODEL,
        path=path,
        size_bytes=_sizes(files),
        published=published,
        signatures=signatures,
        versions={"tensorflow": version} if version else {},
        variables=_tensors(path / VARIABLES) if has_variables else (),
    )


def _tensors(prefix: Path) -> tuple[Variable, ...]:
    reader = open_reader(prefix)
    types = reader.get_variable_to_dtype_map()
    return tuple(
        _variable(name.removesuffix(SUFFIX), shape, types[name].name)
        for name, shape in sorted(reader.get_variable_to_shape_map().items())
        if name != tf_checkpoint.OBJECT_GRAPH
    )


def _datasets(group: Any) -> Iterable[Variable]:
    for dataset in hdf5.walk(group):
        yield _variable(dataset.name.strip("/"), dataset.shape, hdf5.dtype_of(dataset))


def _variable(name: str, shape: Iterable[int], dtype: str) -> Variable:
    sizes = tuple(int(size) for size in shape)
    try:
        width = (
            tf.as_dtype(dtype).size
            if dtype not in ("string", "object", "variant", "resource")
            else 0
        )
    except TypeError:
        width = 0
    return Variable(name, sizes, dtype, width * math.prod(sizes))


def _dictionary(path: Path, text: str | bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"The configuration of the model in {path} cannot be read: {error}."
        ) from error
    if not isinstance(found, dict):
        raise CorruptCheckpointError(
            f"The configuration of the model in {path} is not a JSON object."
        )
    return found


def _sizes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
