"""From a Keras model to its architecture, as far as it can be built again from data alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from ckptkit.compat import keras_models, keras_saving
from ckptkit.run.architecture_file import Architecture, encode

_CODE = "__lambda__"


def serialized(model: Any, versions: Mapping[str, str]) -> bytes:
    """The content of the architecture's file; where the model cannot be described, the reason takes
    the configuration's place.

    Args:
        model: a Keras model. Its values are not looked at.
        versions: of Keras and others.
    """
    name = type(model).__name__
    try:
        config = _numbered(keras_saving.serialized_model(model), {})
        _complete_losses(config.get("compile_config") or {}, getattr(model, "loss", None))
        reason = code_in(config) or _learnt_beside(model)
        if not reason:
            return encode(Architecture(class_name=name, config=config, versions=dict(versions)))
    except Exception as error:  # get_config is the user's own: whatever it raises is the reason
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        reason = f"{type(error).__name__}: {first}"
    return encode(
        Architecture(class_name=name, config=None, reason=reason, versions=dict(versions))
    )


def left_out(loss: Any) -> dict[str, Any]:
    """Arguments of a loss that its own configuration leaves out, as that of Huber does."""
    if not isinstance(loss, keras.losses.Loss):
        return {}
    known = loss.get_config()
    return {
        name: value
        for name, value in keras_models.arguments_of_loss(loss).items()
        if name not in known
    }


def _complete_losses(compiled: Mapping[str, Any], loss: Any) -> None:
    """Puts back what the configurations of losses leave out: a model that was built again would
    train with another loss.
    """
    to_visit = [(compiled.get("loss"), loss)]
    while to_visit:
        config, live = to_visit.pop()
        if (
            isinstance(live, keras.losses.Loss)
            and isinstance(config, dict)
            and isinstance(config.get("config"), dict)
        ):
            config["config"].update(left_out(live))
        elif isinstance(live, Mapping) and isinstance(config, Mapping):
            to_visit += [(config[name], each) for name, each in live.items() if name in config]
        elif isinstance(live, list | tuple) and isinstance(config, list):
            to_visit += zip(config, live, strict=False)


def code_in(config: Any) -> str:
    """Says where a configuration holds code, which is not stored and not run; empty where it holds
    none.
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
    """Whether this is compiled code as Keras writes it for an activation: with its defaults and
    closure, and without saying what it is.
    """
    value = config.get("value")
    return (
        len(config) == 1
        and isinstance(value, list | tuple)
        and len(value) == 3
        and isinstance(value[0], str)
    )


def _dictionaries(value: Any) -> Iterator[Mapping[str, Any]]:
    to_visit = [value]
    while to_visit:
        here = to_visit.pop()
        if isinstance(here, Mapping):
            yield here
            to_visit.extend(here.values())
        elif isinstance(here, list | tuple):
            to_visit.extend(here)


def _numbered(value: Any, seen: dict[int, int]) -> Any:
    """The same, with the numbers of shared objects counted: Keras gives them by where they lie in
    memory, which is new in each process.
    """
    if isinstance(value, Mapping):
        return {
            key: seen.setdefault(item, len(seen))
            if key == "shared_object_id" and isinstance(item, int)
            else _numbered(item, seen)
            for key, item in value.items()
        }
    return [_numbered(item, seen) for item in value] if isinstance(value, list | tuple) else value


def _learnt_beside(model: Any) -> str:
    """Says which layer has learnt something that is neither a weight nor in its configuration, as a
    vocabulary that it was adapted to.
    """
    for layer in keras_models.layers_of(model):
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
