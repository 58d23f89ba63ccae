"""Wraps private names of Keras' files and serialization.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import keras

from ckptkit.compat.keras_construction import name_layers, plain_constructors


class _AddressRecorder:
    """Replaces a weights file, and records the address of each variable in it."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[str, str]] = {}
        self.layers: dict[str, list[str]] = {}
        self._path = self._name = ""

    def make(self, path: str, metadata: Mapping[str, Any] | None = None) -> _AddressRecorder:
        self._path, self._name = path, str((metadata or {}).get("name", ""))
        self.layers.setdefault(self._name, []).append(path)
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        # A variable that two layers share keeps its first address.
        self.found.setdefault(
            id(value), ("/".join(filter(None, (self._path, "vars", key))), f"{self._name}/{key}")
        )


def addresses_in_h5(model: Any) -> dict[int, tuple[str, str]]:
    """Return the addresses of a model's variables in a .weights.h5 file.

    Reason: such a file identifies a weight only by its place in the model's attributes, and Keras
    walks through these only while it writes a file.

    Returns:
        For each variable's `id()`, the path of its dataset, and its name relative to the layer. A
        variable whose value a layer does not write as it is, as LoRA's, has a path beside those.
    """
    from keras.src.saving import saving_lib

    class Store(_AddressRecorder, saving_lib.H5IOStore):
        """An `H5IOStore` for Keras, which checks the class and the truth value of its target."""

        # `H5IOStore.__init__`, which would open a file, is not called.
        def __bool__(self) -> bool:
            return True

    _cache_skipped_attributes()
    store = Store()
    saving_lib._save_state(
        model, weights_store=store, assets_store=None, inner_path="", visited_saveables=set()
    )
    for layer in model._flatten_layers():
        paths = store.layers.get(layer.name, [])
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            if len(paths) == 1:
                store.found.setdefault(
                    id(variable),
                    (f"{paths[0]}/own/{variable.name}", f"{layer.name}/{variable.name}"),
                )
    return store.found


def _cache_skipped_attributes() -> None:
    """Fill Keras' cache of the attributes that a save skips.

    Reason: Keras 3.14 and 3.15 write that cache under one name and read it under another, and make
    a whole layer for each layer that they save. That is two thirds of the time of such a walk.
    """
    from keras.src.backend.common import global_state

    # Each time: the cache belongs to a thread, and `keras.utils.clear_session` deletes it.
    for kind in ("Layer", "Functional", "Sequential"):
        global_state.set_global_attribute(f"saving_attr_skiplist_{kind}", _skipped_attributes(kind))


@functools.cache
def _skipped_attributes(kind: str) -> set[str]:
    from keras.src.saving import saving_lib

    return set(saving_lib.get_attr_skipset(kind))


def serialized_model(model: Any) -> dict[str, Any]:
    """Return the configuration of a model in the form that `model.save` writes.

    Reason: shared objects are recognised as shared only inside this scope.
    """
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with ObjectSharingScope():
        return dict(keras.saving.serialize_keras_object(model))


def deserialized_model(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None) -> Any:
    """Build the model from a configuration of `serialized_model`, without executing code.

    Reason: as for `serialized_model`.

    Args:
        config: the configuration.
        custom_objects: the user's own classes and functions by name, or None.
    """
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with ObjectSharingScope(), plain_constructors(custom_objects) as classes:
        # Keras takes parts out of it.
        model = keras.saving.deserialize_keras_object(
            copy.deepcopy(dict(config)), custom_objects=classes, safe_mode=True
        )
    name_layers(model, config)
    return model


def legacy_weights(layer: Any) -> list[Any]:
    """Return a layer's variables in the order of `.h5` files.

    Reason: that order is not the one of `layer.weights`.
    """
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def own_weights(model: Any) -> list[Any]:
    """Return the variables that belong to a model and not to its layers, in `.h5` order.

    Reason: no public list contains only these.
    """
    weights = {id(variable) for variable in model.weights}
    return [
        variable
        for variable in (*model._trainable_variables, *model._non_trainable_variables)
        if id(variable) in weights
    ]


def pending_shape(initial_value: Any) -> tuple[tuple[int, ...], str] | None:
    """Return the shape and type of the Keras variable that is about to be created, or None.

    Call it in a `tf.variable_creator_scope`.

    Reason: Keras passes only a function that makes the first value, and to call it takes the
    memory.

    Args:
        initial_value: the argument `initial_value` of the variable creator.
    """
    # The closure of the function that makes the first value contains the Keras variable.
    for cell in getattr(initial_value, "__closure__", None) or ():
        if isinstance(cell.cell_contents, keras.Variable):
            return tuple(int(size or 0) for size in cell.cell_contents._shape), str(
                cell.cell_contents._dtype
            )
    return None
