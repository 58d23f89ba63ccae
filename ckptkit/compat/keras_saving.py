"""Private names of Keras' files and of its serialization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


class _Addresses:
    """Stands for the file that Keras saves weights into, and notes what Keras calls each variable's
    place in it.
    """

    def __init__(self) -> None:
        self.found: dict[int, tuple[str, str]] = {}
        self._path = self._name = ""

    def make(self, path: str, metadata: Mapping[str, Any] | None = None) -> _Addresses:
        self._path, self._name = path, str((metadata or {}).get("name", ""))
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        self.found.setdefault(
            id(value), ("/".join(filter(None, (self._path, "vars", key))), f"{self._name}/{key}")
        )


def addresses_in_h5(model: Any) -> dict[int, tuple[str, str]]:
    """Where Keras would save each variable of a model in a .weights.h5 file: the dataset's path,
    and the layer's name with the number behind it; by the variable's id.

    Reason: in such a file a weight has no name of its own, only its place among the model's
    attributes, and Keras offers the walk over them only together with writing a file.
    """
    from keras.src.saving import saving_lib

    class Store(_Addresses, saving_lib.H5IOStore):
        """Is taken for a file."""

        def __bool__(self) -> bool:
            return True

    store = Store()
    saving_lib._save_state(
        model, weights_store=store, assets_store=None, inner_path="", visited_saveables=set()
    )
    return store.found


def serialized_model(model: Any) -> dict[str, Any]:
    """What a model is made of, as `model.save` writes it. Reason: objects that are shared are only
    known as such inside this scope.
    """
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with ObjectSharingScope():
        return dict(keras.saving.serialize_keras_object(model))


def deserialized_model(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None) -> Any:
    """The model that was described so; no code comes out of the description. Reason: as
    `serialized_model`.
    """
    from keras.src.saving.serialization_lib import ObjectSharingScope

    with ObjectSharingScope():
        return keras.saving.deserialize_keras_object(
            dict(config), custom_objects=dict(custom_objects or {}), safe_mode=True
        )


def legacy_weights(layer: Any) -> list[Any]:
    """A layer's variables in the order of `.h5` files. Reason: it is not that of `layer.weights`."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def own_weights(model: Any) -> list[Any]:
    """The variables that a model holds itself, not through a layer, in the order of `.h5` files.
    Reason: no list of Keras has them alone.
    """
    weights = {id(variable) for variable in model.weights}
    return [
        variable
        for variable in (*model._trainable_variables, *model._non_trainable_variables)
        if id(variable) in weights
    ]


def pending_shape(initial_value: Any) -> tuple[tuple[int, ...], str] | None:
    """Shape and type of the Keras variable that is about to be made, seen from
    `tf.variable_creator_scope`; None where it is not Keras that makes it.

    Reason: Keras hands over only a function that makes the first value, which takes the memory.
    """
    for cell in getattr(initial_value, "__closure__", None) or ():
        if isinstance(cell.cell_contents, keras.Variable):
            return tuple(int(size or 0) for size in cell.cell_contents._shape), str(
                cell.cell_contents._dtype
            )
    return None
