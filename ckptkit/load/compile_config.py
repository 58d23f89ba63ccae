"""Restores the arguments of `compile` and the optimizer from `.h5` files of Keras 2 and 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from ckptkit.errors import CorruptCheckpointError
from ckptkit.load import hdf5
from ckptkit.log import logger

_REGISTERED = "Custom>"
"""The prefix of Keras 2 for its own optimizers, which it registered like users' classes."""

_OF_KERAS_2 = frozenset({"jit_compile", "is_legacy_optimizer"})
"""Optimizer arguments of Keras 2 that Keras 3 does not accept."""


def compile_as(path: Path, model: Any, training: Mapping[str, Any], keras_version: str) -> None:
    """Compile a model with the arguments that are stored in an `.h5` file.

    Keras 3's own loader is not sufficient. It does not find losses by a short name (`mse`), builds
    the optimizer without variables, so that training cannot continue, and does not read files of
    Keras 2.

    Args:
        path: the file, for messages.
        model: the model to compile.
        training: the stored arguments.
        keras_version: the version that wrote them; empty if unknown.

    Raises:
        CorruptCheckpointError: If the arguments do not name an optimizer.
    """
    if keras_version.startswith("2."):
        training = _as_keras_3(training)
    optimizer = training.get("optimizer_config")
    if not isinstance(optimizer, Mapping) or not isinstance(optimizer.get("class_name"), str):
        raise CorruptCheckpointError(
            f"{path} holds a compiled model but does not name its optimizer. Expected "
            f"optimizer_config with class and arguments. Received: {str(optimizer)[:100]}. "
            f"ckptkit.load_weights(model, {str(path)!r}) loads the weights alone."
        )
    values = {
        name: _of_config(training.get(name), kind.deserialize)
        for name, kind in (
            ("loss", keras.losses),
            ("metrics", keras.metrics),
            ("weighted_metrics", keras.metrics),
        )
    }
    plain = {
        name: training[name]
        for name in ("loss_weights", "run_eagerly", "steps_per_execution", "jit_compile")
        if training.get(name) is not None
    }
    model.compile(optimizer=keras.optimizers.deserialize(dict(optimizer)), **values, **plain)


def _of_config(value: Any, deserialize: Callable[[Any], Any]) -> Any:
    """Return the objects that a configuration describes.

    Names are unchanged, and lists and dictionaries keep their structure.
    """
    if isinstance(value, Mapping):
        return (
            deserialize(value)
            if "class_name" in value
            else {name: _of_config(each, deserialize) for name, each in value.items()}
        )
    return [_of_config(each, deserialize) for each in value] if isinstance(value, list) else value


def _as_keras_3(value: Any) -> Any:
    """Convert arguments written by Keras 2 to the form of Keras 3."""
    if isinstance(value, list):
        return [_as_keras_3(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {name: _as_keras_3(each) for name, each in value.items()}
    name, arguments = found.get("class_name"), found.get("config")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return found
    if name.startswith(_REGISTERED) and hasattr(keras.optimizers, name.removeprefix(_REGISTERED)):
        name = name.removeprefix(_REGISTERED)
    arguments = {key: each for key, each in arguments.items() if key not in _OF_KERAS_2}
    if arguments.get("reduction") == "auto":
        arguments["reduction"] = "sum_over_batch_size"  # what "auto" meant on one device
    if isinstance(arguments.get("fn"), str):
        function = getattr(keras.metrics, arguments["fn"], None)
        if name == "MeanMetricWrapper" and function is not None:
            arguments["fn"] = keras.saving.serialize_keras_object(function)
        elif hasattr(keras.losses, name):
            del arguments["fn"]  # the class already implies the function
    return {**found, "class_name": name, "config": arguments}


def give_optimizer(path: Path, model: Any, group: Any) -> None:
    """Restore the optimizer's state from an `.h5` file: all of it, or nothing."""
    if model.optimizer is None:
        return
    model.optimizer.build(model.trainable_variables)
    if group is None:
        return
    variables = list(model.optimizer.variables)
    saved = [hdf5.dataset_at(group, name) for name in hdf5.names(group, "weight_names")]
    if [tuple(dataset.shape) for dataset in saved] != [
        tuple(variable.shape) for variable in variables
    ]:
        logger.warning(
            "%s: the saved optimizer state does not fit %s (%d saved variables, %d now); the "
            "optimizer starts from its initial state",
            path,
            type(model.optimizer).__name__,
            len(saved),
            len(variables),
        )
        return
    values = [
        hdf5.values_as(dataset, variable.dtype)
        for variable, dataset in zip(variables, saved, strict=True)
    ]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
