"""Finds what Keras' own loader would assign from a weights file, and assigns nothing.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from ckptkit.compat import keras_adapted, keras_models

Group = Callable[[str], Mapping[str, Any] | None]
"""Returns the datasets of the group at a path, by name; or None if there is no such group."""


@dataclass
class KerasAssignments:
    """What Keras' loader would assign to the variables of a model.

    Args:
        values: by the `id` of each variable: the path of the dataset that it comes from, or an
            empty string if a layer computes it, and the value.
        read: the paths of all datasets that were read.
        complete: whether no layer of the model has refused its values.
    """

    values: dict[int, tuple[str, Any]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    complete: bool = True


def keras_assignments(
    model: Any, group: Group, value: Callable[[Any], Any], others: Iterable[str] = ()
) -> KerasAssignments:
    """Return what Keras' own loader would assign from a `.weights.h5` file, and assign nothing.

    Reason: a layer's `load_own_variables` decides what becomes of its values. A layer with LoRA
    merges them, a quantized layer packs them, and no public function returns the result.

    Args:
        model: a built model.
        group: finds the groups of the file.
        value: reads a dataset.
        others: names of a model's attributes that are not read, such as its optimizer.
    """
    from keras.src.saving import saving_lib

    found, scope, errors = KerasAssignments(), keras.StatelessScope(), dict[int, Any]()
    store = _recording_store(group, value, scope, found)
    skipped = [getattr(model, name, None) for name in others]
    for layer in keras_models.layers_of(model):
        if keras_adapted.is_adapted(layer):
            skipped += [layer, keras_adapted.inner_lookup(layer)]
    with scope, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saving_lib._load_state(
            model,
            weights_store=store,
            assets_store=None,
            inner_path="",
            visited_saveables={id(each) for each in skipped if each is not None},
            failed_saveables=set(),
            error_msgs=errors,
        )
        store.settle()
    layers = {id(layer) for layer in keras_models.layers_of(model)}
    found.complete = not layers & errors.keys()
    # A Normalization has derived constants from values that it was not given.
    for layer in keras_models.layers_of(model):
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            layer.finalize_state()
    return found


def _recording_store(
    group: Group, value: Callable[[Any], Any], scope: Any, found: KerasAssignments
) -> Any:
    """Return what takes the place of an open file for Keras' loader.

    Args:
        group, value: as for `keras_assignments`.
        scope: collects what is assigned.
        found: what is noted.
    """
    from keras.src.saving import saving_lib

    class Store(saving_lib.H5IOStore):
        """An `H5IOStore` for Keras, which checks the class, that notes what is read."""

        # `H5IOStore.__init__`, which would open a file, is not called.
        def __init__(self) -> None:
            self._group: Mapping[str, Any] = {}
            self._last = ""

        def __bool__(self) -> bool:
            return True

        def get(self, path: str) -> Any:
            self.settle()
            self._group = group(path) or {}
            return self

        def has_path(self, path: str) -> bool:
            return group(path) is not None

        def __len__(self) -> int:
            return len(self._group)

        def keys(self) -> Any:
            return self._group.keys()

        def __contains__(self, key: object) -> bool:
            return key in self._group

        def __getitem__(self, key: str) -> Any:
            self.settle()
            dataset = self._group[key]
            self._last = dataset.name.strip("/")
            found.read.add(self._last)
            return value(dataset)

        def settle(self) -> None:
            """Attributes what was assigned since the last value was read."""
            for identity, tensor in scope.state_mapping.items():
                if identity not in found.values:
                    found.values[identity] = (self._last, tensor)
                    self._last = ""

    return Store()
