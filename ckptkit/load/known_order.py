"""Finds weights that an order alone does not identify, as their layers could change places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ckptkit.compat import keras_models

Unit = Sequence[Any]
"""Variables that keep their order whatever the program does: those of one layer, or one alone."""


def exchangeable(model: Any) -> dict[int, str]:
    """Return a label for each weight that could be another one, as far as an order tells.

    The order of the weights of a functional or Sequential model, and of Keras' own layers, follows
    from what they compute. In a class of the user's own it is the order in which the program makes
    the layers. If two of them have the same form, nobody sees that they have changed places.

    Args:
        model: a model whose variables exist.

    Returns:
        The labels by `id` of the variable. Weights with the same label could change places.
    """
    found: dict[int, str] = {}
    for number, layer in enumerate(keras_models.layers_of(model)):
        if _orders_itself(layer):
            continue
        units = list(_units(layer))
        forms = [_form(unit) for unit in units]
        times = Counter(forms)
        for unit, form in zip(units, forms, strict=True):
            if times[form] > 1:
                for place, variable in enumerate(unit):
                    # The outer layer's label stays: its layers may change places as a whole.
                    found.setdefault(id(variable), f"{number}/{form}/{place}")
    return found


def _orders_itself(layer: Any) -> bool:
    """Return whether the order of a layer's parts follows from what it computes."""
    return type(layer).__module__.startswith("keras.") or keras_models.declares_inputs(layer)


def _units(layer: Any) -> Iterator[Unit]:
    parts = [part for part in keras_models.parts_of(layer) if getattr(part, "weights", None)]
    inside = {id(variable) for part in parts for variable in part.weights}
    yield from (part.weights for part in parts)
    yield from ([variable] for variable in layer.weights if id(variable) not in inside)


def _form(unit: Unit) -> str:
    return " ".join(f"{tuple(variable.shape)} {variable.value.dtype.name}" for variable in unit)
