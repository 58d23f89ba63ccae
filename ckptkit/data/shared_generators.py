"""Finds random generators that the parallel workers of a `PyDataset` share.

Workers draw from a shared generator in another order each time, so no second run has the same
numbers. The code of the methods is examined, because a draw itself cannot be observed.
"""

from __future__ import annotations

import dis
import random
import types
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ckptkit.tracking.reachable_objects import is_of_a_library

_GENERATORS = (
    random.Random,
    np.random.Generator,
    np.random.RandomState,
    tf.random.Generator,
    keras.random.SeedGenerator,
)
_GLOBAL = {
    id(random.random.__self__): "random",  # type: ignore[attr-defined]
    id(np.random.normal.__self__): "numpy.random",  # type: ignore[attr-defined]
}
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_DEREF", "LOAD_FAST", "LOAD_NAME"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})


def reason_workers_share(source: Any) -> str | None:
    """Return why the parallel workers of a source of batches cannot repeat their numbers, or None.

    Args:
        source: a dataset of `fit`.
    """
    if not isinstance(source, keras.utils.PyDataset):
        return None
    if source.workers <= 1 and not source.use_multiprocessing:
        return None
    drawn = sorted(set(_draws(type(source).__getitem__, source, set())))
    if not drawn:
        return None
    given = "use_multiprocessing=True" if source.use_multiprocessing else f"{source.workers=}"
    return (
        f"{type(source).__name__}.__getitem__ can draw from {', '.join(drawn)}, which all workers "
        f"use, in another order each time ({given.removeprefix('source.')}): no second run has "
        "the same numbers. Make a generator in __getitem__, such as "
        "numpy.random.default_rng((seed, index)), or use one worker"
    )


def _draws(function: Any, source: Any, seen: set[int]) -> Iterator[str]:
    """Yield the names of shared generators that a function of the program draws from."""
    function = getattr(function, "__func__", function)
    if (
        not isinstance(function, types.FunctionType)
        or id(function) in seen
        or is_of_a_library(function.__module__)
    ):
        return
    seen.add(id(function))
    itself = function.__code__.co_varnames[:1]
    for chain in _chains(function.__code__):
        value, name = _root(function, chain[0], source if chain[:1] == [*itself] else None)
        if isinstance(value, _GENERATORS):
            yield name
            continue
        for attribute in chain[1:]:
            # A property would run code of the program.
            if value is source and isinstance(getattr(type(value), attribute, None), property):
                value = None
            value = getattr(value, attribute, None)
            name = f"{name}.{attribute}"
            if isinstance(value, _GENERATORS):
                yield name
                break
        owner = _GLOBAL.get(id(getattr(value, "__self__", None)))
        if owner is not None:
            yield f"{owner}.{chain[-1]}"
        elif _is_tensorflow_draw(value):
            yield f"tf.random.{chain[-1]}"
        else:
            yield from _draws(value, source, seen)


def _root(function: types.FunctionType, name: str, source: Any) -> tuple[Any, str]:
    if source is not None:
        return source, name
    for cell_name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=False
    ):
        if cell_name == name:
            try:
                return cell.cell_contents, name
            except ValueError:  # it has no value yet
                return None, name
    return function.__globals__.get(name), name


def _is_tensorflow_draw(value: Any) -> bool:
    return value is not None and any(value is each for each in _TENSORFLOW_DRAWS)


_TENSORFLOW_DRAWS = (
    tf.random.normal,
    tf.random.uniform,
    tf.random.truncated_normal,
    tf.random.gamma,
    tf.random.poisson,
    tf.random.shuffle,
    tf.random.categorical,
)


def _chains(code: types.CodeType) -> Iterator[list[str]]:
    """Yield the names and attributes that code reads, such as `["np", "random", "normal"]`."""
    chain: list[str] = []
    for each in dis.get_instructions(code):
        if each.opname in _ATTRIBUTES and chain:
            chain.append(str(each.argval))
            continue
        if chain:
            yield chain
        chain = [str(each.argval)] if each.opname in _LOADS else []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _chains(constant)
