"""Reads the settings of a model's layers as the code gave them: rates, activations, wiring."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from ckptkit.compat import keras_adapted, keras_models
from ckptkit.run.architecture_file import LayerSettings
from ckptkit.tracking.hyperparameters import as_json, shortest_decimal

_SKIPPED = frozenset(
    {
        # The name of a layer is part of its path, and an automatic one has another number in each
        # build. `trainable` has a check of its own. A generator that was made from a seed is part
        # of the state, so a seed decides nothing on a resume.
        "name",
        "trainable",
        "seed",
        # Parts that have settings of their own.
        "layers",
        "input_layers",
        "output_layers",
        "build_input_shape",
        # What `adapt` has learnt, and no setting.
        "vocabulary_size",
    }
)

_LEARNED = ("vocabulary", "idf_weights", "salt", "bin_boundaries", "mean", "variance")

# By layer: its settings when an attempt ended (None while one is under way), and those that the
# code had given it. Weak, so that nothing keeps a model alive after the user has dropped it.
_known: weakref.WeakKeyDictionary[Any, tuple[Mapping[str, object] | None, Mapping[str, object]]] = (
    weakref.WeakKeyDictionary()
)


def begin_with_layers(model: Any) -> tuple[LayerSettings, ...]:
    """Return the settings that the code gave the layers, and remember them.

    A callback may change a layer while training runs. That is then no change of the code, also for
    a later attempt in this process.

    Args:
        model: a Keras model.
    """
    found = []
    for layer, entry in _walk(model):
        seen, configured = _known.get(layer, (entry.settings, entry.settings))
        settings = {
            name: configured.get(name, value) if seen is None or seen.get(name) == value else value
            for name, value in entry.settings.items()
        }
        _known[layer] = (None, settings)
        found.append(replace(entry, settings=settings))
    return tuple(found)


def configured_layers(model: Any) -> tuple[LayerSettings, ...]:
    """Return the settings of a model's layers as the code configured them.

    Args:
        model: a Keras model.
    """
    return tuple(
        replace(entry, settings={**entry.settings, **_known[layer][1]})
        if layer in _known
        else entry
        for layer, entry in _walk(model)
    )


def remember_layers(model: Any) -> None:
    """Remember the settings of a model's layers for a later attempt of this process.

    Args:
        model: a Keras model.
    """
    for layer, entry in _walk(model):
        _, configured = _known.get(layer, (None, entry.settings))
        _known[layer] = (entry.settings, configured)


def _walk(model: Any) -> Iterator[tuple[Any, LayerSettings]]:
    """Yield a model and the layers in it with their present settings, each once."""
    seen: set[int] = set()
    pending: list[tuple[str, Any, Mapping[str, object], Mapping[str, Any] | None]] = [
        ("", model, {}, None)
    ]
    while pending:
        path, layer, wiring, config = pending.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        # The configuration of a model contains those of its layers.
        config = config if config is not None else _config_of(layer)
        yield (
            layer,
            LayerSettings(
                path=path,
                class_name=type(layer).__name__,
                settings={**_settings(layer, config), **wiring},
            ),
        )
        # A layer of Keras' own describes its parts itself.
        if isinstance(layer, keras.Model) or not type(layer).__module__.startswith("keras."):
            parts = keras_models.parts_of(layer)
            names = stable_names(parts)
            inputs, configs = _wiring(config, parts), _configs_in(config)
            pending += [
                (
                    f"{path}/{name}" if path else name,
                    part,
                    inputs.get(part.name, {}),
                    configs.get(part.name),
                )
                for name, part in zip(names, parts, strict=True)
            ][::-1]


def _config_of(layer: Any) -> Mapping[str, Any]:
    """Return what a layer says about itself, or nothing."""
    try:
        config = layer.get_config()
    # It may be the user's own code, which raises anything. Training must not fail over it.
    except Exception:
        return {}
    return config if isinstance(config, Mapping) else {}


def _configs_in(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what the configuration of a model says about its layers, by their names."""
    entries = config.get("layers")
    return {
        inner["name"]: inner
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping)
        and isinstance(inner := entry.get("config"), Mapping)
        and isinstance(inner.get("name"), str)
    }


def _settings(layer: Any, config: Mapping[str, Any]) -> dict[str, object]:
    given = {
        name: _plain(value)
        for name, value in config.items()
        if isinstance(name, str) and name not in _SKIPPED
    }
    if isinstance(layer, keras.layers.InputLayer) and isinstance(given.get("batch_shape"), list):
        # The size of a batch has a check of its own.
        given["batch_shape"] = [None, *given["batch_shape"][1:]]
    if isinstance(layer, keras.layers.LayerNormalization | keras.layers.RMSNormalization):
        # Building turns -1 into the number of the axis.
        given.pop("axis", None)
    # What `adapt` has learnt, or the code gave in its place, is state, which a resume restores.
    if keras_adapted.is_adapted(layer):
        for name in _LEARNED:
            given.pop(name, None)
    return as_json(given)


def _plain(value: Any) -> Any:
    """Return a setting without what differs between processes and versions of Keras."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__tuple__":
            return [_plain(item) for item in value["items"]]
        if "class_name" in value and "config" in value:
            return _object_text(value)
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return shortest_decimal(value)


def _object_text(serialized: Mapping[str, Any]) -> str:
    """Return an object that Keras has serialized in the form in which code makes it."""
    name, config = str(serialized["class_name"]), serialized["config"]
    if name == "function" and isinstance(config, str):
        return config
    # Compiled code of a lambda differs between versions of Python.
    if name == "__lambda__" or not isinstance(config, Mapping):
        return name.strip("_")
    # Earlier versions of Keras wrote the name alone.
    if name == "DTypePolicy" and "name" in config:
        return str(config["name"])
    arguments = ", ".join(
        f"{key}={_plain(item)}" for key, item in config.items() if key not in _SKIPPED
    )
    return f"{name}({arguments})"


def stable_names(layers: Sequence[Any]) -> list[str]:
    """Return names of layers that are the same each time the model is built.

    Keras numbers automatic names over the whole process: `dense` is `dense_2` in the second build.
    These are numbered within the list, so they are the names in a new process.

    Args:
        layers: the layers that one model holds, in their order.

    Example:
        >>> import keras
        >>> from ckptkit.tracking.layer_settings import stable_names
        >>> stable_names([keras.layers.Dense(1, name="dense_7"), keras.layers.Dense(1, name="top")])
        ['dense', 'top']
    """
    automatic = [
        base if re.fullmatch(rf"{re.escape(base)}(_\d+)?", layer.name) else None
        for layer, base in ((layer, _class_in_words(layer)) for layer in layers)
    ]
    taken = {layer.name for layer, name in zip(layers, automatic, strict=True) if name is None}
    names = []
    for layer, base in zip(layers, automatic, strict=True):
        name, number = base or layer.name, 0
        while base is not None and name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names.append(name)
    return names


def _class_in_words(layer: Any) -> str:
    """Return the name that Keras gives to the first layer of a class: `re_lu` for `ReLU`."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", type(layer).__name__))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _wiring(config: Mapping[str, Any], layers: Sequence[Any]) -> dict[str, dict[str, object]]:
    """Return by layer what a functional model passes to it, as one further setting.

    Layers are numbered here, and not named: a program may give them other names in each build.
    """
    entries = config.get("layers")
    if not isinstance(entries, list):
        return {}
    labels = {layer.name: f"{_class_in_words(layer)}#{i}" for i, layer in enumerate(layers)}
    return {
        entry["name"]: as_json({"inputs": _tensors(entry["inbound_nodes"], labels)})
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("inbound_nodes") and "name" in entry
    }


def _tensors(value: Any, names: Mapping[str, str]) -> Any:
    """Return the arguments of calls with tensors replaced by the layers that they come from."""
    if isinstance(value, Mapping):
        history = value.get("config", {}).get("keras_history") if "config" in value else None
        if history:
            layer, *rest = history
            return ":".join([names.get(layer, str(layer)), *(str(each) for each in rest if each)])
        # Other arguments of a call have defaults that differ between versions of Keras.
        return _tensors(value.get("args", []), names)
    if isinstance(value, list | tuple):
        return [_tensors(item, names) for item in value]
    return shortest_decimal(value)
