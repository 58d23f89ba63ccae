"""Describes a Keras model as plain data, from which it can be rebuilt."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from ckptkit.compat import keras_adapted, keras_models, keras_saving
from ckptkit.run.architecture_file import Architecture, encode
from ckptkit.tracking.layer_settings import configured_layers

# The class name under which Keras serializes a lambda as marshalled bytecode.
_CODE = "__lambda__"


def serialize_architecture(model: Any, versions: Mapping[str, str]) -> bytes:
    """Return the content of the architecture file of a model.

    If the model cannot be described, the file records the reason instead of a configuration.

    Args:
        model: a Keras model; its values are not read.
        versions: the versions of Keras and other libraries, by name.
    """
    described = Architecture(
        class_name=type(model).__name__,
        config=None,
        versions=dict(versions),
        layers=configured_layers(model),
    )
    try:
        config = _renumber_shared_objects(keras_saving.serialized_model(model), {})
        _complete_losses(config.get("compile_config") or {}, getattr(model, "loss", None))
        reason = code_in_configuration(config) or _learnt_outside_weights(model)
        if not reason:
            return encode(replace(described, config=config))
    except Exception as error:  # get_config may be the user's code and raise any error
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        reason = f"{type(error).__name__}: {first}"
    return encode(replace(described, reason=reason))


def unsaved_loss_arguments(loss: Any) -> dict[str, Any]:
    """Return the arguments of a loss that `get_config` omits, such as the delta of Huber."""
    if not isinstance(loss, keras.losses.Loss):
        return {}
    known = loss.get_config()
    return {
        name: value
        for name, value in keras_models.arguments_of_loss(loss).items()
        if name not in known
    }


def _complete_losses(compiled: Mapping[str, Any], loss: Any) -> None:
    """Add the arguments of losses that their configurations omit.

    Without them, a rebuilt model would train with a different loss.
    """
    pending = [(compiled.get("loss"), loss)]
    while pending:
        config, live = pending.pop()
        if (
            isinstance(live, keras.losses.Loss)
            and isinstance(config, dict)
            and isinstance(config.get("config"), dict)
        ):
            config["config"].update(unsaved_loss_arguments(live))
        elif isinstance(live, Mapping) and isinstance(config, Mapping):
            pending += [(config[name], each) for name, each in live.items() if name in config]
        elif isinstance(live, list | tuple) and isinstance(config, list):
            pending += zip(config, live, strict=False)


def code_in_configuration(config: Any) -> str:
    """Return a description of code in a configuration, or an empty string if it has no code.

    Code is neither stored nor run.
    """
    for each in _dictionaries(config):
        if each.get("class_name") == "Lambda":
            inner = each.get("config")
            name = f" {inner['name']!r}" if isinstance(inner, Mapping) and "name" in inner else ""
            return f"its Lambda layer{name} contains a function, which is code, not data"
        if each.get("class_name") == _CODE or _is_dumped(each):
            return "it contains a function without a name (lambda), which is code, not data"
    return ""


def _is_dumped(config: Mapping[str, Any]) -> bool:
    """Return whether a value is compiled code in the form that Keras uses for an activation.

    It is a list of the code, its defaults and its closure, without a class name.
    """
    value = config.get("value")
    return (
        len(config) == 1
        and isinstance(value, list | tuple)
        and len(value) == 3
        and isinstance(value[0], str)
    )


def _dictionaries(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all dictionaries in a nested configuration."""
    pending = [value]
    while pending:
        here = pending.pop()
        if isinstance(here, Mapping):
            yield here
            pending.extend(here.values())
        elif isinstance(here, list | tuple):
            pending.extend(here)


def _renumber_shared_objects(value: Any, seen: dict[int, int]) -> Any:
    """Return the configuration with shared objects numbered in order of appearance.

    Keras numbers them by memory address, which differs in each process, so the same model would get
    a different file each time.
    """
    if isinstance(value, Mapping):
        return {
            key: seen.setdefault(item, len(seen))
            if key == "shared_object_id" and isinstance(item, int)
            else _renumber_shared_objects(item, seen)
            for key, item in value.items()
        }
    return (
        [_renumber_shared_objects(item, seen) for item in value]
        if isinstance(value, list | tuple)
        else value
    )


def _learnt_outside_weights(model: Any) -> str:
    """Return a description of a layer with learned state that cannot be saved, or "".

    The state of Keras' own layers with a vocabulary is saved.
    """
    known = {
        id(keras_adapted.inner_lookup(layer))
        for layer in keras_models.layers_of(model)
        if keras_adapted.is_adapted(layer)
    }
    for layer in keras_models.layers_of(model):
        if keras_adapted.is_adapted(layer) or id(layer) in known:
            continue
        # Keras has no method to ask for it; such a layer writes files as its assets.
        if callable(getattr(layer, "save_assets", None)):
            with tempfile.TemporaryDirectory() as directory:
                layer.save_assets(directory)
                if any(Path(directory).iterdir()):
                    return (
                        f"the layer {layer.name!r} ({type(layer).__name__}) keeps its learned "
                        f"state (adapt) outside its configuration; pass it its vocabulary as an "
                        f"argument"
                    )
    return ""
