"""Reads tensors of any format with their values, one at a time to limit memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptkit.bundle import tensor_bundle
from ckptkit.compat import tf_checkpoint
from ckptkit.load import hdf5
from ckptkit.load.checkpoint_weights import VARIABLES
from ckptkit.load.formats import Format, FoundFormat
from ckptkit.load.keras_files import OWN, legacy_group
from ckptkit.load.model_description import Description, describe
from ckptkit.load.object_graph import read_graph
from ckptkit.load.tensor_list import UNREADABLE, VARIABLE, Tensor, of_manifest, part_of
from ckptkit.run.checkpoint_catalog import Checkpoint


@dataclass(frozen=True)
class Contents:
    """Saved tensors that can be read while their file is open.

    Args:
        tensors: in the order of the file.
        read: returns the values of a tensor as an array, or None if its type has no values.
        about: the description of the file; None for a run, which has a manifest instead.
    """

    tensors: tuple[Tensor, ...]
    read: Callable[[Tensor], Any]
    about: Description | None = None


def of_run(checkpoint: Checkpoint) -> Contents:
    """Return the tensors of a checkpoint of a run.

    Raises:
        CorruptCheckpointError: If its files cannot be read.
    """
    return Contents(of_manifest(checkpoint.manifest), _tensorflow(checkpoint.prefix))


@contextmanager
def of_files(found: FoundFormat, version: int | None = None) -> Iterator[Contents]:
    """Open the tensors of a model or weights outside a run.

    Args:
        found: the result of `recognise`.
        version: for a directory of SavedModel versions, the one to read; the default is the newest.

    Returns:
        A context manager whose value is the contents.

    Raises:
        CorruptCheckpointError: If it cannot be read.
        CheckpointNotFoundError: If there is no such version.
        ConfigError: If a version was named, but the format has none.
        StorageError: If the system refuses to read.
    """
    about = describe(found, version)
    if found.format in (Format.KERAS, Format.HDF5):
        with hdf5.opened(found.path) as file:
            names = _names_in_hdf5(file)
            yield Contents(
                _tensors(about, names),
                lambda tensor: hdf5.values(hdf5.dataset_at(file, tensor.key)),
                about,
            )
        return
    prefix = about.path if found.format is Format.CHECKPOINT else about.path / VARIABLES
    if not about.variables:
        yield Contents((), lambda tensor: None, about)
        return
    yield Contents(_tensors(about, _names_in_graph(prefix)), _tensorflow(prefix), about)


def _tensors(about: Description, names: Mapping[str, str]) -> tuple[Tensor, ...]:
    """Return the variables of a file; those with a name come first, in the order of names."""
    order = {key: number for number, key in enumerate(names)}
    ordered = sorted(about.variables, key=lambda each: order.get(each.name, len(order)))
    return tuple(
        Tensor(
            key=each.name,
            name=names.get(each.name) or each.name,
            part=part_of(each.name, names.get(each.name, "")),
            group="",
            kind=VARIABLE,
            shape=each.shape,
            dtype=each.dtype,
            size_bytes=each.size_bytes,
        )
        for each in ordered
    )


def _tensorflow(prefix: Path) -> Callable[[Tensor], Any]:
    reader = tensor_bundle.open_reader(prefix)
    there = reader.get_variable_to_shape_map()

    def read(tensor: Tensor) -> Any:
        if tensor.dtype in UNREADABLE:
            return None
        key = tensor.key + tensor_bundle.SUFFIX
        return _as_array(
            tensor_bundle.read_value(reader, prefix, key if key in there else tensor.key)
        )

    return read


def _as_array(found: Any) -> Any:
    """Return values as an array; TensorFlow returns a scalar string as bytes."""
    return np.array(found, object) if isinstance(found, bytes) else np.asarray(found)


def _names_in_graph(prefix: Path) -> dict[str, str]:
    """Return the names that variables had when they were saved, by key.

    The result is empty if the checkpoint has no object graph.
    """
    reader = tensor_bundle.open_reader(prefix)
    if tf_checkpoint.OBJECT_GRAPH not in reader.get_variable_to_shape_map():
        return {}
    nodes = read_graph(reader, prefix)
    return {node.key.removesuffix(tensor_bundle.SUFFIX): node.name for node in nodes if node.key}


def _names_in_hdf5(file: Any) -> dict[str, str]:
    """Return the names of variables that Keras stored, by key, in Keras' order.

    In the newer form this is the layer's name and the variable's number in it: `dense_1/0`.
    """
    group = legacy_group(file)
    if group is not None:
        layers = [hdf5.group_at(group, name) for name in (*hdf5.names(group, "layer_names"), OWN)]
        found = [
            each for each in (*layers, hdf5.group_at(file, "optimizer_weights")) if each is not None
        ]
        return {
            f"{each.name}/{name}".strip("/"): name.removesuffix(":0")
            for each in found
            for name in hdf5.names(each, "weight_names")
        }
    names = {}
    for dataset in hdf5.walk(file):
        owner = hdf5.text(dataset.parent, "name")
        key = dataset.name.strip("/")
        if owner is not None and key.split("/")[-2:-1] == ["vars"]:
            names[key] = f"{owner}/{key.rpartition('/')[2]}"
    return names
