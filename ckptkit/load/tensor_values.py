"""The tensors of any format with their values, read one after the other, so that no more than one
of them is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptkit.compat import tf_checkpoint
from ckptkit.errors import CorruptCheckpointError
from ckptkit.load import hdf5
from ckptkit.load.checkpoint_weights import VARIABLES, reader_of, serialized_graph
from ckptkit.load.formats import Format, FoundFormat
from ckptkit.load.keras_files import OWN, legacy_group
from ckptkit.load.model_description import Description, describe
from ckptkit.load.tensor_list import UNREADABLE, VARIABLE, Tensor, of_manifest, part_of
from ckptkit.run.catalog import Checkpoint
from ckptkit.writing import tensor_file


@dataclass(frozen=True)
class Contents:
    """Saved tensors while their file is open.

    Args:
        tensors: in the order of the file.
        read: the values of one of them as an array; None where its type has none.
        about: what was found; None of a run, which has its manifest.
    """

    tensors: tuple[Tensor, ...]
    read: Callable[[Tensor], Any]
    about: Description | None = None


def of_run(checkpoint: Checkpoint) -> Contents:
    """The tensors of a checkpoint of a run.

    Raises:
        CorruptCheckpointError: where its files cannot be read.
    """
    return Contents(of_manifest(checkpoint.manifest), _tensorflow(checkpoint.prefix))


@contextmanager
def of_files(found: FoundFormat, version: int | None = None) -> Iterator[Contents]:
    """The tensors of what is no run.

    Args:
        found: as `recognise` gave it.
        version: of a base of versions: which; by default the newest.

    Returns:
        A context manager that gives the contents.

    Raises:
        CorruptCheckpointError: where it cannot be read.
        CheckpointNotFoundError: where there is no such version.
        ConfigError: where a version was named, and there are none.
        StorageError: where the system refuses to read.
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
    """The variables that were found, those with names in the order of these."""
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
    reader = reader_of(prefix)
    there = reader.get_variable_to_shape_map()

    def read(tensor: Tensor) -> Any:
        if tensor.dtype in UNREADABLE:
            return None
        key = tensor.key + tensor_file.SUFFIX
        try:
            # One at a time, and as it lies in the file: a copy as TensorFlow's tensor would take
            # the same memory once more.
            return _as_array(reader.get_tensor(key if key in there else tensor.key))
        except (*tensor_file.READ_ERRORS, TypeError, RuntimeError) as error:
            raise CorruptCheckpointError(
                f"TensorFlow cannot read {tensor.key} of {prefix}: {tensor_file.first_line(error)}"
            ) from error

    return read


def _as_array(found: Any) -> Any:
    """TensorFlow gives a single text as bytes."""
    return np.array(found, object) if isinstance(found, bytes) else np.asarray(found)


def _names_in_graph(prefix: Path) -> dict[str, str]:
    """How variables were called when they were saved, by key; nothing where a checkpoint has no
    objects, only names.
    """
    reader = reader_of(prefix)
    if tf_checkpoint.OBJECT_GRAPH not in reader.get_variable_to_shape_map():
        return {}
    nodes = tf_checkpoint.object_graph(serialized_graph(reader, prefix))
    return {node.key.removesuffix(tensor_file.SUFFIX): node.name for node in nodes if node.key}


def _names_in_hdf5(file: Any) -> dict[str, str]:
    """What Keras notes of variables' names, by key, in its own order.

    In its newer form that is the layer's name, and the variable's number in it: `dense_1/0`.
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
