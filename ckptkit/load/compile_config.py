"""The arguments of `compile` and the optimizer's state in an `.h5` file, as Keras 3 and Keras 2
have written them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from ckptkit.errors import CorruptCheckpointError
from ckptkit.load import hdf5
from ckptkit.log import logger

_REGISTERED = "Custom>"
"""What Keras 2 put before the names of its own optimizers, which it had registered as users do
theirs.
"""

_OF_KERAS_2 = frozenset({"jit_compile", "is_legacy_optimizer"})
"""Arguments of its optimizers that Keras 3 does not take."""


def compile_as(path: Path, model: Any, training: Mapping[str, Any], keras_version: str) -> None:
    """Compiles a model with the arguments in an `.h5` file.

    Keras 3 has a way of its own, on which losses by a short name (`mse`) are not found again, and
    the optimizer is built for no variable at all, so that training cannot go on; and files of Keras
    2 are not understood.

    Args:
        path: the file, for messages.
        model: what is compiled.
        training: its arguments.
        keras_version: of what wrote them; empty where that is not known.

    Raises:
        CorruptCheckpointError: where no optimizer is among them.
    """
    if keras_version.startswith("2."):
        training = _as_keras_3(training)
    optimizer = training.get("optimizer_config")
    if not isinstance(optimizer, Mapping) or not isinstance(optimizer.get("class_name"), str):
        raise CorruptCheckpointError(
            f"{path} says that its model was compiled, and not with which optimizer. Expected "
            "optimizer_config with its "
            f"class and arguments. Received: {str(optimizer)[:100]}. ckptkit.load_weights(model, "
            f"{str(path)!r}) takes the "
            f"weights alone."
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
    """What a configuration stands for: a name is itself, an object is made, and lists and
    dictionaries keep their form.
    """
    if isinstance(value, Mapping):
        return (
            deserialize(value)
            if "class_name" in value
            else {name: _of_config(each, deserialize) for name, each in value.items()}
        )
    return [_of_config(each, deserialize) for each in value] if isinstance(value, list) else value


def _as_keras_3(value: Any) -> Any:
    """Arguments that Keras 2 has written, as Keras 3 would have written them."""
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
        arguments["reduction"] = "sum_over_batch_size"  # that is what it meant on one device
    if isinstance(arguments.get("fn"), str):
        function = getattr(keras.metrics, arguments["fn"], None)
        if name == "MeanMetricWrapper" and function is not None:
            arguments["fn"] = keras.saving.serialize_keras_object(function)
        elif hasattr(keras.losses, name):
            del arguments["fn"]  # its class says the same
    return {**found, "class_name": name, "config": arguments}


def give_optimizer(path: Path, model: Any, group: Any) -> None:
    """Gives a model the optimizer's state in an `.h5` file, all of it or nothing."""
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
            "%s: the optimizer's state has another form than that of %s now (%d and %d "
            "variables); it begins anew",
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
