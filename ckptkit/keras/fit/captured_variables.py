"""Finds and saves variables that the train step and the loss use but no model contains.

An example is a loss with `beta` in its closure, which a callback changes. Keras lists no such
variable. It is found among the names that the program's functions use, and in the traced step.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import tf_captures, tf_distribute
from ckptkit.run.manifest import CAPTURED
from ckptkit.tracking.leaves import Leaf, VariableLeaf, path_of
from ckptkit.tracking.random_draws import draws
from ckptkit.tracking.reachable_objects import is_of_a_library, walk
from ckptkit.tracking.replicated_leaf import ReplicatedLeaf
from ckptkit.tracking.variable_replicas import components_of

_METHODS = ("train_step", "compute_loss", "call")
_HOLD_VARIABLES = (
    tf.Variable,
    tf.Module,
    tf.random.Generator,
    keras.Variable,
    keras.random.SeedGenerator,
)


@dataclass(frozen=True)
class CapturedLeaf(VariableLeaf):
    """A leaf for a captured variable; a restore skips it if its shape has changed."""

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        if _fits(self.variable, tensors):
            super().assign(tensors)


@dataclass(frozen=True)
class CapturedReplicatedLeaf(ReplicatedLeaf):
    """The same for a variable with several replicas."""

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        if _fits(self.variable, tensors):
            super().assign(tensors)


def _fits(variable: tf.Variable, tensors: Mapping[str, tf.Tensor]) -> bool:
    # The program may use a different variable at this place now, because the place is its only
    # name.
    return bool(variable.shape.is_compatible_with(tensors[""].shape))


class CapturedVariables:
    """The variables of a model's train step and loss that are not yet in the state.

    Args:
        model: the model that is trained.
        known: returns the leaves of the state.
    """

    def __init__(self, model: Any, known: Callable[[], Iterable[Leaf]]) -> None:
        self._model = model
        self._known = known
        self._found: list[tuple[str, tf.Variable]] = []

    def find(self, step: Any) -> None:
        """Search for the variables again, for example after the first step.

        Args:
            step: the train function, which may be traced; None if it does not exist yet.
        """
        known = {
            id(leaf.variable)
            for leaf in self._known()
            if isinstance(leaf, VariableLeaf)
            and not isinstance(leaf, CapturedLeaf | CapturedReplicatedLeaf)
        }
        found: dict[int, tuple[str, tf.Variable]] = {}
        for path, variable in (*_named_in_code(self._model), *_traced(step)):
            if id(variable) not in known and not draws.owns(variable):
                found.setdefault(id(variable), (path, variable))
        # Variables that were found earlier keep their numbers.
        before = {id(variable) for _, variable in self._found}
        self._found = [each for each in self._found if id(each[1]) not in known]
        self._found += [each for each in found.values() if id(each[1]) not in before]

    def leaves(self, name: str) -> list[Leaf]:
        """Return the leaves.

        Args:
            name: the name of the entry, which is the first part of the keys.
        """
        return [
            _leaf(f"{name}/{CAPTURED}/{number}", path, variable)
            for number, (path, variable) in enumerate(self._found)
        ]


def _leaf(key: str, path: str, variable: Any) -> Leaf:
    if isinstance(variable, tf.distribute.DistributedValues):
        return CapturedReplicatedLeaf(key, path, variable, components=components_of(variable))
    return CapturedLeaf(key, path, variable)


def _traced(step: Any) -> Iterator[tuple[str, tf.Variable]]:
    for function in tf_captures.traced_functions(step):
        for capture in tf_captures.captures_of(function):
            # A function that runs on several devices has captured the variable of each.
            spread = tf_distribute.distributed_variable_of(capture.variable)
            variable = capture.variable if spread is None else spread
            yield path_of(variable), variable


def _named_in_code(model: Any) -> Iterator[tuple[str, tf.Variable]]:
    """Yield the variables that the loss and the methods of the model's class use by name."""
    roots = [
        *tf.nest.flatten(getattr(model, "loss", None)),
        *(getattr(type(model), name, None) for name in _METHODS),
    ]
    seen: set[int] = set()
    for root in roots:
        for name, value in _names_used(root, seen):
            for path, variable in walk(value):
                raw = variable.value if isinstance(variable, keras.Variable) else variable
                if isinstance(raw, tf.Variable):
                    yield (f"{name}.{path}" if path else name), raw


def _names_used(function: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield objects with variables among the names that a function of the program uses."""
    function = getattr(function, "python_function", function)  # of a tf.function
    function = getattr(function, "__func__", function)
    if (
        not isinstance(function, types.FunctionType)
        or id(function) in seen
        or is_of_a_library(function.__module__)
    ):
        return
    seen.add(id(function))
    try:
        names = inspect.getclosurevars(function)
    except (TypeError, ValueError):  # a name that has no value yet
        return
    for name, value in {**names.globals, **names.nonlocals}.items():
        if isinstance(value, _HOLD_VARIABLES):
            yield name, value
        else:
            yield from _names_used(value, seen)
