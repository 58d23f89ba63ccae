"""Converts settings of layers, optimizers and `compile` to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from ckptkit.compat import keras_models
from ckptkit.tracking.hyperparameters import is_json
from ckptkit.tracking.plain_values import NOT_PLAIN, decode_any, encode_plain

_POLICY, _LOSS, _OTHER = "__policy__", "__loss__", "__object__"


class NotRestorableError(ValueError):
    """A setting is an object that only the program can make; the text names the object."""


def setting_form(value: Any) -> Any:
    """Return a setting as JSON; an object that cannot be made from JSON is represented by its name.

    Args:
        value: a plain value, a dtype policy, a loss, or lists and dictionaries of these.
    """
    plain = encode_plain(value)
    if plain is not NOT_PLAIN:
        return plain
    if isinstance(value, list | tuple):
        return [setting_form(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"items": {key: setting_form(item) for key, item in value.items()}}
    if isinstance(value, keras.DTypePolicy):
        return {_POLICY: keras.dtype_policies.serialize(value)}
    if isinstance(value, keras.losses.Loss) and type(value).__module__.startswith("keras."):
        # Some losses leave out arguments in their configuration.
        config = {**value.get_config(), **keras_models.arguments_of_loss(value)}
        if is_json(config):
            return {_LOSS: {"class_name": type(value).__name__, "config": config}}
    return {_OTHER: getattr(value, "__name__", None) or type(value).__name__}


def setting_value(form: Any) -> Any:
    """Return the setting that a result of `setting_form` represents.

    Raises:
        NotRestorableError: If it contains an object that cannot be made from JSON.
    """
    if isinstance(form, list):
        return [setting_value(item) for item in form]
    if not isinstance(form, Mapping):
        return form
    ((mark, inner),) = form.items()
    if mark == _OTHER:
        raise NotRestorableError(str(inner))
    if mark == "items":
        return {key: setting_value(item) for key, item in inner.items()}
    try:
        if mark == _POLICY:
            return keras.dtype_policies.deserialize(inner)
        if mark == _LOSS:
            return keras.losses.deserialize(inner)
    # Keras raises different errors for what another version of it does not know.
    except Exception as error:
        raise NotRestorableError(f"{inner.get('class_name')}: {error}") from error
    return decode_any(form)


def setting_words(form: Any) -> str:
    """Return a setting as text for messages."""
    if isinstance(form, Mapping):
        ((mark, inner),) = form.items()
        if mark == _POLICY:
            return str(inner.get("config", {}).get("name"))
        if mark == _LOSS:
            return str(inner["class_name"])
        if mark == _OTHER:
            return str(inner)
    return repr(form)
