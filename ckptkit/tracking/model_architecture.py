"""The architecture of a Keras model as plain data, from which it can be built again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from ckptkit.compat import keras_adapted, keras_models, keras_saving
from ckptkit.run.architecture_file import Architecture, encode

# The class name under which Keras serializes a lambda: marshalled bytecode.
_CODE = "__lambda__"


def serialize_architecture(model: Any, versions: Mapping[str, str]) -> bytes:
    """Return the content of the architecture file of a model.

    If the model cannot be described, the file records the reason instead of a configuration.

    Args:
        model: a Keras model. Its values are not read.
        versions: of Keras and other libraries, by name.
    """
    name = type(model).__name__
    try:
        config = _renumber_shared_objects(keras_saving.serialized_model(model), {})
        _complete_losses(config.get("compile_config") or {}, getattr(model, "loss", None))
        reason = code_in_configuration(config) or _learnt_outside_weights(model)
        if not reason:
            return encode(Architecture(class_name=name, config=config, versions=dict(versions)))
    except Exception as error:  # get_config is the user's own code and may raise anything
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        reason = f"{type(error).__name__}: {first}"
    return encode(
        Architecture(class_name=name, config=None, reason=reason, versions=dict(versions))
    )


def unsaved_loss_arguments(loss: Any) -> dict[str, Any]:
    """Return the arguments of a loss that its own configuration omits, as Huber omits its delta."""
    if not isinstance(loss, keras.losses.Loss):
        return {}
    known = loss.get_config()
    return {
        name: value
        for name, value in keras_models.arguments_of_loss(loss).items()
        if name not in known
    }


def _complete_losses(compiled: Mapping[str, Any], loss: Any) -> None:
    """Adds the arguments of losses that their configurations omit.

    Without them a model that is built again would train with another loss.
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
    """Return a description of the code in a configuration, or an empty string if it has none.

    Code is not stored and never run.
    """
    for each in _dictionaries(config):
        if each.get("class_name") == "Lambda":
            inner = each.get("config")
            name = f" {inner['name']!r}" if isinstance(inner, Mapping) and "name" in inner else ""
            return f"its Lambda layer{name} holds a function, and that is code, not data"
        if each.get("class_name") == _CODE or _is_dumped(each):
            return "it holds a function without a name (lambda), and that is code, not data"
    return ""


def _is_dumped(config: Mapping[str, Any]) -> bool:
    """Whether this is compiled code as Keras writes it for an activation, without a class name.

    It is a list of the code, its defaults and its closure.
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
    """Return the configuration with shared objects numbered in the order of their appearance.

    Keras numbers them by their memory addresses, which differ in each process. The same model would
    get another file each time.
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
    """Return a description of a layer that has learnt something that no checkpoint has, or "".

    Keras' own layers that learn a vocabulary are part of the state.
    """
    known = {
        id(keras_adapted.inner_lookup(layer))
        for layer in keras_models.layers_of(model)
        if keras_adapted.is_adapted(layer)
    }
    for layer in keras_models.layers_of(model):
        if keras_adapted.is_adapted(layer) or id(layer) in known:
            continue
        # Keras has no question for it; such a layer writes files as its assets.
        if callable(getattr(layer, "save_assets", None)):
            with tempfile.TemporaryDirectory() as directory:
                layer.save_assets(directory)
                if any(Path(directory).iterdir()):
                    return (
                        f"the layer {layer.name!r} ({type(layer).__name__}) keeps what it has "
                        "learnt (adapt) beside its configuration; give it "
                        f"its vocabulary as an argument"
                    )
    return ""
