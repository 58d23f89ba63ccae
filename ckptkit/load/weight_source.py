"""What every format is turned into: a list of saved weights, and a way to read some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from ckptkit.load.weight_matching import Weight
from ckptkit.tracking.tracker import path_of


@dataclass(frozen=True)
class WeightSource:
    """Saved weights that may be read while their file is open.

    Args:
        where: what was opened, in words.
        saved: its weights; what belongs to no model (optimizer, metrics) is left out.
        live: the weights of the program's model, with addresses and names that are comparable with
            those.
        read: reads the weights of these numbers, all or none.
    """

    where: str
    saved: tuple[Weight, ...]
    live: tuple[Weight, ...]
    read: Callable[[Sequence[int]], list[Any]]


class Form(TypedDict):
    """Shape and type of a weight."""

    shape: tuple[int | None, ...]
    dtype: str


def form_of(shape: Sequence[int | None] | None, dtype: str) -> Form:
    """The form of what was saved; a shape that is not known fits nothing."""
    return {"shape": (-1,) if shape is None else tuple(shape), "dtype": dtype}


def live_weights(model: Any, places: Mapping[int, tuple[str, str]]) -> tuple[Weight, ...]:
    """A model's weights.

    Args:
        model: it.
        places: address and name of a variable, by its id.
    """
    return tuple(
        Weight(
            key=path_of(variable),
            address=places.get(id(variable), ("", ""))[0],
            name=places.get(id(variable), ("", path_of(variable)))[1],
            shape=tuple(variable.shape),
            dtype=variable.value.dtype.name,
        )
        for variable in model.weights
    )
