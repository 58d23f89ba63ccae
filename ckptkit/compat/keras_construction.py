"""Builds layers whose constructor does not take what Keras passes to every layer.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras

_OF_EVERY_LAYER = frozenset({"name", "dtype", "trainable"})
"""The arguments that Keras stores for each layer, whether its constructor takes them or not."""


class _Constructor:
    """Takes the place of a user's class while Keras builds its objects."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind
        self.__name__ = kind.__name__

    def __repr__(self) -> str:
        return repr(self._kind)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return self._kind(*positional, **named)

    def from_config(self, config: Mapping[str, Any], **options: Any) -> Any:
        """Build an object; what its constructor does not take is set afterwards."""
        taken = inspect.signature(self._kind.__init__).parameters
        refused = _OF_EVERY_LAYER & config.keys() - taken.keys()
        if not refused or any(each.kind is each.VAR_KEYWORD for each in taken.values()):
            return self._kind.from_config(dict(config), **options)
        rest = {name: value for name, value in config.items() if name not in refused}
        policy = _policy(config["dtype"]) if config.get("dtype") and "dtype" in refused else None
        before = keras.config.dtype_policy()
        try:
            if policy is not None:
                # It had this type from Keras' global policy, and so had the layers inside.
                keras.config.set_dtype_policy(policy)
            built = self._kind.from_config(rest, **options)
        finally:
            keras.config.set_dtype_policy(before)
        if "name" in refused:
            built.name = config["name"]
        if policy is not None:
            built.dtype_policy = policy
        if "trainable" in refused:
            built.trainable = config["trainable"]
        return built


def _policy(stored: Any) -> Any:
    return keras.dtype_policies.deserialize(dict(stored)) if isinstance(stored, Mapping) else stored


@contextmanager
def plain_constructors(custom_objects: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Lets Keras build layers and models whose constructors take no `name`, `dtype`, `trainable`.

    Tutorials write `def __init__(self): super().__init__()`.

    Reason: Keras passes all that `get_config` returns to the constructor.

    Args:
        custom_objects: the user's own classes and functions, by name. Those that are registered
            count as well.

    Yields:
        What to pass to Keras as `custom_objects`.
    """
    # What is registered takes precedence over every argument and scope, so it is replaced there.
    registered = keras.saving.get_custom_objects()
    before, given = dict(registered), dict(custom_objects or {})
    registered.update(_constructors(before))
    try:
        yield {**given, **_constructors(given)}
    finally:
        registered.update(before)


def _constructors(classes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _Constructor(value)
        for name, value in classes.items()
        if isinstance(value, type) and _takes_place(value)
    }


def name_layers(model: Any, config: Any) -> None:
    """Gives layers whose constructor takes no name the names that a functional model had for them.

    Reason: `get_config` leaves such a name out, and Keras uses it only to connect the layers.

    Args:
        model: the model that was built.
        config: its configuration.
    """
    entries = config.get("config", {}).get("layers") if isinstance(config, Mapping) else None
    layers = getattr(model, "operations", None) or getattr(model, "layers", None)
    if not isinstance(entries, list) or layers is None or len(entries) != len(layers):
        return
    for layer, entry in zip(layers, entries, strict=True):
        if type(layer).__name__ != entry.get("class_name"):
            return
        if "name" in entry and "name" not in entry.get("config", {}):
            layer.name = entry["name"]
        name_layers(layer, entry)


def _takes_place(kind: type[Any]) -> bool:
    """Whether a class is a layer of the user's own that Keras builds from its configuration."""
    if not issubclass(kind, keras.Layer) or kind.__module__.partition(".")[0] == "keras":
        return False
    # A `from_config` of the user's own knows what it does.
    own = getattr(kind.from_config, "__func__", None)
    return own in {keras.Layer.from_config.__func__, keras.Model.from_config.__func__}
