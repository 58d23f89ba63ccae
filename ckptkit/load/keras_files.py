"""Reads weights from Keras' own files: .keras, .weights.h5, and .h5 files of Keras 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckptkit.compat import keras_saving, keras_weights_file
from ckptkit.errors import CorruptCheckpointError
from ckptkit.load import hdf5
from ckptkit.load.known_order import exchangeable
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


_IDF = "idf_weights"
"""What a lookup has learnt, which is read with its vocabulary or not at all."""

Values = dict[int, Any]
"""Values that a layer makes of a file's, by the index of the saved weight."""


@contextmanager
def opened(path: Path, model: Any) -> Iterator[WeightSource]:
    """Open the weights in a file that Keras wrote.

    Raises:
        CorruptCheckpointError: If the file cannot be read or has implausible contents.
        StorageError: If the system refuses to read.
    """
    with hdf5.opened(path) as file:
        group = legacy_group(file)
        computed: Values = {}
        if group is not None:
            saved, live = _legacy(group, model)
        else:
            saved, live, computed = _by_address(file, model)
        yield WeightSource(
            str(path),
            saved,
            live,
            lambda chosen: [
                computed[number]
                if number in computed
                else hdf5.values(hdf5.dataset_at(file, saved[number].key))
                for number in chosen
            ],
        )


def legacy_group(file: Any) -> Any:
    """Return the group that holds layers by name, or None if the file has the newer layout."""
    if "layer_names" in file.attrs or "layer_names0" in file.attrs:
        return file
    return hdf5.group_at(file, LEGACY)


def _by_address(file: Any, model: Any) -> tuple[tuple[Weight, ...], tuple[Weight, ...], Values]:
    """Return the weights of a file in the newer layout, and what layers make of them.

    Its groups follow the attributes of the model, and are named by class and number. Keras' own
    loader decides which dataset belongs to which weight.
    """
    given = keras_weights_file.keras_assignments(
        model, lambda path: _variables_at(file, path), hdf5.values, _NOT_OF_THE_MODEL
    )
    sources = {key: identity for identity, (key, _) in given.values.items() if key}
    weights = {id(variable): variable for variable in model.weights}
    saved, values = list[Weight](), Values()
    for dataset in hdf5.walk(file):
        key = dataset.name.strip("/")
        parts = key.split("/")
        if len(parts) < 2 or parts[-2] != "vars":
            raise CorruptCheckpointError(
                f"{file.filename}: {dataset.name} is not where Keras keeps weights (.../vars/0). "
                "Expected a .weights.h5 file, or a whole model in .h5."
            )
        if _NOT_OF_THE_MODEL & set(parts) or parts[-1] == _IDF:
            continue
        variable = weights.get(sources.get(key, 0))
        if given.complete and key in given.read and variable is None:
            continue  # a part from which a layer has computed a value
        weight = _saved_weight(dataset, parts)
        if variable is not None and weight.dtype == variable.value.dtype.name:
            values[len(saved)] = given.values[id(variable)][1]
            weight = replace(weight, shape=tuple(variable.shape))
        saved.append(weight)
    places = dict(keras_saving.addresses_in_h5(model))
    for identity, variable in weights.items():
        key, value = given.values.get(identity, ("", None))
        name = places.get(identity, ("", path_of(variable)))[1]
        if key:
            places[identity] = (_address(key.split("/")), name)
        elif value is not None:
            # As LoRA's matrices, which begin at zero beside the merged kernel.
            computed = f"computed for {path_of(variable)}"
            places[identity] = (computed, name)
            values[len(saved)] = value
            saved.append(
                Weight(computed, computed, "", tuple(variable.shape), variable.value.dtype.name)
            )
    return tuple(saved), live_weights(model, places), values


def _saved_weight(dataset: Any, parts: list[str]) -> Weight:
    # Keras stores no names before 3.6. What is left then is the place, and that is no name.
    layer = hdf5.text(dataset.parent, "name")
    return Weight(
        key="/".join(parts),
        address=_address(parts),
        name=f"{layer}/{parts[-1]}" if layer else "",
        shape=tuple(dataset.shape),
        dtype=hdf5.dtype_of(dataset),
    )


def _address(parts: Sequence[str]) -> str:
    return "/".join("layers" if part == _OLD_LAYERS else part for part in parts)


def _variables_at(file: Any, path: str) -> dict[str, Any] | None:
    """Return the datasets of a layer in a file of the newer layout, or None if it has no group."""
    for place in (path, path.replace("layers", _OLD_LAYERS)):
        group = hdf5.group_at(file, place) if place else file
        if group is not None and "vars" in group:
            found = hdf5.group_at(group, "vars")
            return {name: hdf5.dataset_at(found, name) for name in found}
        if group is not None:
            return {}
    return None


def _legacy(group: Any, model: Any) -> tuple[tuple[Weight, ...], tuple[Weight, ...]]:
    """Return the weights of a file in the older layout.

    It lists the layers with weights in the model's order, and the weights of each layer in order.
    """
    saved = []
    named = [name for name in hdf5.names(group, "layer_names") if _weight_names(group, name)]
    for number, layer in enumerate([*named, *([OWN] if _weight_names(group, OWN) else [])]):
        place = "own" if layer == OWN else str(number)
        listed = _weight_names(group, layer)
        if len(set(listed)) < len(listed):
            # One dataset cannot be two weights: the file has lost the values of one.
            twice = next(name for name in listed if listed.count(name) > 1)
            raise CorruptCheckpointError(
                f"{group.file.filename} names {twice!r} of the layer {layer!r} twice, so it has "
                "one value for two weights. Save the model again, as .keras or .weights.h5."
            )
        for index, name in enumerate(listed):
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
    return tuple(saved), live_weights(model, places, exchangeable(model))


def _weight_names(group: Any, layer: str) -> list[str]:
    found = hdf5.group_at(group, layer)
    return [] if found is None else hdf5.names(found, "weight_names")


def _last(path: str) -> str:
    """Return the last part of a weight's name.

    Nested layers may give several weights the same name. Only the place identifies these.
    """
    return path.removesuffix(":0").rpartition("/")[2]
