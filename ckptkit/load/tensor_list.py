"""Lists the tensors in a file or checkpoint, in one form for all formats. No TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ckptkit.run.manifest import EVALUATED, RESULT, WEIGHTS, Manifest

OPTIMIZER = "optimizer"

VARIABLE = "variable"
"""The kind of a tensor that holds one variable's value, as in manifests."""

UNREADABLE = frozenset({"variant", "resource"})
"""TensorFlow types whose values are not arrays, such as iterators."""

NO_VALUES = "only TensorFlow can read them"
"""The note on tensors of a type in `UNREADABLE`."""

_ROLES_OF_THE_REST = frozenset({"seeds", "metrics", "trackables", "state", "data", EVALUATED})
_NO_WEIGHTS = frozenset(
    {
        "seed_generator",
        "seed_generators",
        "metrics",
        "_metrics",
        "loss_tracker",
        "_loss_tracker",
        "compile_metrics",
        "_compile_metrics",
        "save_counter",
        "_all_variables",
    }
)
"""Attributes that contain state other than weights.

The last one, in Keras' exports, contains the same weights a second time.
"""

_OPTIMIZERS = frozenset({OPTIMIZER, "optimizer_weights", ".OPTIMIZER_SLOT"})
_TRAINED = "_trainable_variables"
_KEY_OF_A_RUN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*/([a-z]+)/\d+(/.*)?")


class TensorPart(StrEnum):
    """The purpose of a tensor: weights, optimizer or the rest."""

    WEIGHTS = "weights"
    OPTIMIZER = "optimizer"
    REST = "rest"


@dataclass(frozen=True)
class Tensor:
    """A saved tensor.

    Args:
        key: the key with which it is read.
        name: its name in Keras or TensorFlow, else the key.
        part: whether it is a weight, of an optimizer, or something else.
        group: in a run its state and role (`model/weights`); empty in other formats.
        kind: `variable`; in a run also `trackable` or `python`.
        shape: its sizes, None for one that is not fixed; None as a whole if the number of
            dimensions is open.
        dtype: TensorFlow's name of the type.
        size_bytes: the bytes of its values; 0 if the shape or type is not fixed.
        trainable: whether training changes it; None if that is unknown or has no meaning.
    """

    key: str
    name: str
    part: TensorPart
    group: str
    kind: str
    shape: tuple[int | None, ...] | None
    dtype: str
    size_bytes: int
    trainable: bool | None = None


@dataclass(frozen=True)
class Total:
    """A number of tensors and their size.

    Args:
        tensors: number of tensors.
        size_bytes: size of their values, if known.
    """

    tensors: int
    size_bytes: int


def of_manifest(manifest: Manifest) -> tuple[Tensor, ...]:
    """Return the tensors of a checkpoint of a run, in the order of its manifest."""
    return tuple(
        Tensor(
            key=each.key,
            name=each.path or each.key,
            part=_PARTS.get(each.role, TensorPart.REST),
            group=each.key.rsplit("/", 1)[0] if each.kind == VARIABLE else "",
            kind=each.kind,
            shape=each.shape,
            dtype=each.dtype,
            size_bytes=each.size_bytes,
            trainable=each.trainable,
        )
        for each in manifest.tensors
    )


_PARTS = {WEIGHTS: TensorPart.WEIGHTS, RESULT: TensorPart.WEIGHTS, OPTIMIZER: TensorPart.OPTIMIZER}


def part_of(key: str, name: str = "") -> TensorPart:
    """Return the purpose of a tensor outside of a run, by its key and name.

    Example:
        >>> from ckptkit.load.tensor_list import part_of
        >>> keys = ("layers/dense/vars/0", "optimizer/vars/3", "save_counter")
        >>> [str(part_of(key)) for key in keys]
        ['weights', 'optimizer', 'rest']
    """
    parts = key.split("/")
    if (
        (ours := _KEY_OF_A_RUN.fullmatch(key)) and ours[1] in _ROLES_OF_THE_REST
    ) or _NO_WEIGHTS.intersection((*parts, *name.split("/"))):
        return TensorPart.REST
    if _TRAINED in parts:
        # The optimizer's list of trained variables may be the shortest path to a weight.
        return TensorPart.WEIGHTS
    return (
        TensorPart.OPTIMIZER
        if any(part.strip("_") in _OPTIMIZERS for part in parts)
        else TensorPart.WEIGHTS
    )


def totals(tensors: Iterable[Tensor]) -> dict[TensorPart, Total]:
    """Return the number of tensors and bytes for each purpose, including empty ones."""
    sizes: dict[TensorPart, list[int]] = {part: [] for part in TensorPart}
    for tensor in tensors:
        sizes[tensor.part].append(tensor.size_bytes)
    return {part: Total(len(each), sum(each)) for part, each in sizes.items()}


def total(tensors: Sequence[Tensor]) -> Total:
    """Return the number of tensors, and their size."""
    return Total(len(tensors), sum(tensor.size_bytes for tensor in tensors))
