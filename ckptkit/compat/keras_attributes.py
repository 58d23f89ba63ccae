"""Tells attributes that Keras and TensorFlow set for themselves from the user's attributes.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import dis
import functools
import inspect
from types import CodeType, FunctionType
from typing import Any

import keras

_BASES = (
    keras.Layer,
    keras.Model,
    keras.Sequential,
    keras.layers.RNN,
    keras.metrics.Metric,
    keras.losses.Loss,
    keras.optimizers.Optimizer,
    keras.callbacks.Callback,
)
"""Keras' base classes, whose attributes are bookkeeping and never settings of a layer."""

_SET_ELSEWHERE = frozenset({"history", "_functional", "_layers", "_operations", "_keras_history"})
"""Attributes of Keras' objects that are set outside of their classes."""

_NOT_SETTINGS = frozenset(
    {
        "lora_enabled",
        "lora_rank",
        "lora_alpha",
        "quantization_config",
        "dtype_policy",
        "kernel_shape",
        "single_state",
        "states",
        "supports_masking",
    }
)
"""Public attributes of Keras' layers that depend on other attributes or on how it was built."""


@functools.cache
def own_attributes(kind: Any) -> frozenset[str]:
    """Return the attribute names that a class gets from its base classes in Keras and TensorFlow.

    Reason: no public list contains them, and `vars` does not say who has set an attribute.

    Args:
        kind: a class of Keras or TensorFlow, or a user's subclass.
    """
    found = {name for each in kind.__mro__ if _is_foreign(each) for name in _names_set_by(each)}
    return frozenset(found | _SET_ELSEWHERE) if found else frozenset()


@functools.cache
def settings(kind: Any) -> frozenset[str]:
    """Return the public settings of one of Keras' layers or losses, such as `rate` of `Dropout`.

    Reason: as for `own_attributes`.

    Args:
        kind: a class.
    """
    book_keeping = {name for base in _BASES for name in own_attributes(base)}
    return frozenset(
        name
        for name in own_attributes(kind) - book_keeping - _NOT_SETTINGS
        if not name.startswith("_")
    )


def _is_foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("keras", "tensorflow")


@functools.cache
def _names_set_by(kind: Any) -> frozenset[str]:
    """Return the names of the attributes that the methods of one class assign."""
    functions = []
    for member in vars(kind).values():
        if isinstance(member, property):
            functions += [member.fget, member.fset]
        else:
            functions.append(getattr(member, "__func__", member))
    return frozenset(
        name
        for function in functions
        if isinstance(
            plain := inspect.unwrap(function) if callable(function) else None, FunctionType
        )
        for name in _names_stored(plain.__code__)
    )


def _names_stored(code: CodeType) -> set[str]:
    # Each instruction has two bytes. `dis` is not used, because it takes a fifth of a second for
    # Keras' classes.
    stored, extended = set(), 0
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        argument = extended << 8 | low
        if operation == _STORE_ATTR:
            stored.add(code.co_names[argument])
        extended = argument if operation == dis.EXTENDED_ARG else 0
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            stored |= _names_stored(constant)
    return stored


_STORE_ATTR = dis.opmap["STORE_ATTR"]
