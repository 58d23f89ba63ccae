"""Lists saved weights in one form for all formats, with a function that reads chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ckptkit.load.weight_matching import Weight
from ckptkit.tracking.adapted_layers import AdaptedLeaf
from ckptkit.tracking.leaves import path_of


@dataclass(frozen=True)
class WeightSource:
    """The saved weights of a source, which can be read while their file is open.

    Args:
        where: the name of the source, for messages.
        saved: the saved weights, without variables of optimizers and metrics.
        live: the weights of the program's model, with addresses and names comparable with `saved`.
        read: reads the weights with the given indices, all or none.
        adapted: the layers whose learnt values stand after the weights in `live`.
        state: the name of the model in a run; empty for other sources.
    """

    where: str
    saved: tuple[Weight, ...]
    live: tuple[Weight, ...]
    read: Callable[[Sequence[int]], list[Any]]
    adapted: tuple[AdaptedLeaf, ...] = ()
    state: str = ""


class Form(TypedDict):
    """The shape and type of a weight."""

    shape: tuple[int | None, ...]
    dtype: str


def form_of(shape: Sequence[int | None] | None, dtype: str) -> Form:
    """Return the form of a saved weight; an unknown shape matches no weight."""
    return {"shape": (-1,) if shape is None else tuple(shape), "dtype": dtype}


def live_weights(
    model: Any, places: Mapping[int, tuple[str, str]], rivals: Mapping[int, str] | None = None
) -> tuple[Weight, ...]:
    """Return a model's weights.

    Args:
        model: a Keras model.
        places: address and name of each variable, by the variable's `id`.
        rivals: the labels of variables that could have changed places, by `id`, if the addresses
            are only places in an order.
    """
    return tuple(
        Weight(
            key=path_of(variable),
            address=places.get(id(variable), ("", ""))[0],
            name=places.get(id(variable), ("", path_of(variable)))[1],
            shape=tuple(variable.shape),
            dtype=variable.value.dtype.name,
            rivals=(rivals or {}).get(id(variable), ""),
        )
        for variable in model.weights
    )
