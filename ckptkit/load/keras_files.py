"""Reads weights from Keras' own files: .keras, .weights.h5, and .h5 files of Keras 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckptkit.compat import keras_saving
from ckptkit.errors import CorruptCheckpointError
from ckptkit.load import hdf5
from ckptkit.load.weight_matching import Weight
from ckptkit.load.weight_source import WeightSource, live_weights
from ckptkit.tracking.leaves import path_of

LEGACY = "model_weights"
"""The group of weights in a whole model in the older `.h5` layout."""

OWN = "top_level_model_weights"
"""The group of weights that belong to the model itself and not to a layer."""

_OLD_LAYERS = "_layer_checkpoint_dependencies"
"""The name that Keras 2.12 gave to `layers`."""

_NOT_OF_THE_MODEL = frozenset(
    {
        "optimizer",
        "seed_generator",
        "_loss_tracker",
        "loss_tracker",
        "metrics",
        "_metrics",
        "_compile_metrics",
        "compile_metrics",
    }
)


@contextmanager
def opened(path: Path, model: Any) -> Iterator[WeightSource]:
    """Open the weights in a file that Keras wrote.

    Raises:
        CorruptCheckpointError: If the file cannot be read or has implausible contents.
        StorageError: If the system refuses to read.
    """
    with hdf5.opened(path) as file:
        group = legacy_group(file)
        if group is not None:
            saved, live = _legacy(group, model)
        else:
            saved, live = _by_address(file, model)
        yield WeightSource(
            str(path),
            saved,
            live,
            lambda chosen: [
                hdf5.values(hdf5.dataset_at(file, saved[number].key)) for number in chosen
            ],
        )


def legacy_group(file: Any) -> Any:
    """Return the group that holds layers by name, or None if the file has the newer layout."""
    if "layer_names" in file.attrs or "layer_names0" in file.attrs:
        return file
    return hdf5.group_at(file, LEGACY)


def _by_address(file: Any, model: Any) -> tuple[tuple[Weight, ...], tuple[Weight, ...]]:
    """Return the weights of a file in the newer layout.

    Its groups follow the attributes of the model, and are named by class and number.
    """
    saved = []
    for dataset in hdf5.walk(file):
        parts = dataset.name.strip("/").split("/")
        if len(parts) < 2 or parts[-2] != "vars":
            raise CorruptCheckpointError(
                f"{file.filename}: {dataset.name} is not where Keras keeps weights (.../vars/0). "
                "Expected a .weights.h5 file, or a whole model in .h5."
            )
        if not _NOT_OF_THE_MODEL & set(parts):
            address = "/".join("layers" if part == _OLD_LAYERS else part for part in parts)
            layer = hdf5.text(dataset.parent, "name") or "/".join(parts[:-2])
            saved.append(
                Weight(
                    key="/".join(parts),
                    address=address,
                    name=f"{layer}/{parts[-1]}",
                    shape=tuple(dataset.shape),
                    dtype=hdf5.dtype_of(dataset),
                )
            )
    return tuple(saved), live_weights(model, keras_saving.addresses_in_h5(model))


def _legacy(group: Any, model: Any) -> tuple[tuple[Weight, ...], tuple[Weight, ...]]:
    """Return the weights of a file in the older layout.

    It lists the layers with weights in the model's order, and the weights of each layer in order.
    """
    saved = []
    named = [name for name in hdf5.names(group, "layer_names") if _weight_names(group, name)]
    for number, layer in enumerate([*named, *([OWN] if _weight_names(group, OWN) else [])]):
        place = "own" if layer == OWN else str(number)
        for index, name in enumerate(_weight_names(group, layer)):
            dataset = hdf5.dataset_at(hdf5.group_at(group, layer), name)
            saved.append(
                Weight(
                    key=dataset.name.strip("/"),
                    address=f"{place}/{index}",
                    name=f"{layer}/{_last(name)}",
                    shape=tuple(dataset.shape),
                    dtype=hdf5.dtype_of(dataset),
                )
            )
    places = {}
    for number, layer in enumerate(each for each in model.layers if each.weights):
        for index, variable in enumerate(keras_saving.legacy_weights(layer)):
            places[id(variable)] = (f"{number}/{index}", f"{layer.name}/{_last(path_of(variable))}")
    for index, variable in enumerate(keras_saving.own_weights(model)):
        places[id(variable)] = (f"own/{index}", f"{OWN}/{_last(path_of(variable))}")
    return tuple(saved), live_weights(model, places)


def _weight_names(group: Any, layer: str) -> list[str]:
    found = hdf5.group_at(group, layer)
    return [] if found is None else hdf5.names(found, "weight_names")


def _last(path: str) -> str:
    """Return the last part of a weight's name.

    Nested layers may give several weights the same name. Only the place identifies these.
    """
    return path.removesuffix(":0").rpartition("/")[2]
