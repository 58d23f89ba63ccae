"""Wraps private names of Keras models and layers: their parts, building, arguments of `compile`.

Tried with TensorFlow 2.20 and 2.21, and with Keras 3.14 and 3.15.
"""

from __future__ import annotations

from typing import Any, Literal

import keras


def layers_of(layer: Any) -> list[Any]:
    """Return a layer and all layers inside it, at any depth.

    Reason: `layers` of a model is not recursive.
    """
    return list(layer._flatten_layers())


def parts_of(layer: Any) -> list[Any]:
    """Return the direct sublayers of a layer, and the operations of a functional model.

    Reason: `layers` of a model omits operations, and a custom layer has no such list.
    """
    from keras.src.models import Functional

    if isinstance(layer, Functional):
        return list(layer.operations)
    if isinstance(layer, keras.Sequential):
        return list(layer.layers)
    return list(layer._flatten_layers(include_self=False, recursive=False))


TRAINABLE = "_trainable"
"""The attribute in which a layer keeps its own flag.

Reason: `trainable` is a property, and no attribute that could be compared.
"""


def set_trainable(layer: Any, trainable: bool) -> None:
    """Set the flag of a layer and of its own variables, and not those of the layers inside it.

    Reason: setting `trainable` changes the layers inside, too, of which each has a flag of its own.

    Args:
        layer: a layer.
        trainable: its flag.
    """
    vars(layer)[TRAINABLE] = trainable
    for variable in layer._trainable_variables:
        variable.trainable = trainable


def trainable_flags(model: Any) -> list[bool]:
    """Return which of a model's weights are trained, in their order.

    Reason: a weight of TensorFlow's own has no flag that could be set.
    """
    return [bool(getattr(variable, "trainable", False)) for variable in model.weights]


def seed_generators_of(layer: Any) -> list[Any]:
    """Return the seed generators that are attributes of a layer.

    Reason: public lists contain their variables, but not which generator a variable belongs to.
    """
    return list(layer._seed_generators)


def automatic_names(model: Any) -> frozenset[str]:
    """Return the names that Keras gives to layers by itself, without their numbers.

    Reason: no public function tells whether a name was given by the user.

    Args:
        model: a model, whose own classes count as well as those of Keras.
    """
    from keras.src.utils.naming import to_snake_case

    classes = {type(layer) for layer in layers_of(model)}
    of_keras = {each for each in vars(keras.layers).values() if isinstance(each, type)}
    names = {to_snake_case(each.__name__) for each in classes | of_keras}
    return frozenset(names | {"functional", "sequential", "model"})


def build_from_spec(model: Any, element_spec: Any) -> None:
    """Build a compiled model with its metrics, loss and optimizer, without running a step.

    Reason: Keras builds metrics only in the first step, but a checkpoint is assigned before that.

    Args:
        model: a compiled model.
        element_spec: the form of the batches.

    Raises:
        RuntimeError: If a custom train step cannot be built in this way.
    """
    model._symbolic_build(data_batch=element_spec)


def input_signature(model: Any) -> Any:
    """Return the form of a built model's inputs in the same way as Keras' exporter.

    Reason: `model.export` has no argument for `training=False`, so ckptkit traces the model itself.
    """
    from keras.src.export.export_utils import get_input_signature

    return get_input_signature(model)


def declares_inputs(model: Any) -> bool:
    """Return whether a model declares its inputs: functional, or Sequential with an input.

    Reason: the class `Functional` has no public name.
    """
    from keras.src.models import Functional

    return isinstance(model, Functional) or (
        isinstance(model, keras.Sequential)
        and isinstance(getattr(model, "_functional", None), Functional)
    )


def arguments_of_loss(loss: Any) -> dict[str, Any]:
    """Return the arguments that a loss passes to its function.

    Reason: `get_config` of Huber and other losses omits them.
    """
    return dict(getattr(loss, "_fn_kwargs", {}))


def compile_metrics_built(model: Any) -> bool:
    """Return whether the metrics that were passed to `compile` exist already.

    Reason: Keras makes them in the first step, and `model.metrics` does not show whether they
    exist.
    """
    metrics = getattr(model, "_compile_metrics", None)
    return metrics is None or bool(metrics.built)


def metric_directions(model: Any) -> dict[str, Literal["min", "max"]]:
    """Return the direction of each metric of a model that defines one.

    Reason: Keras infers the mode of its own callbacks from the same attribute. Before the first
    step, metrics that were passed to `compile` are in no public list.
    """
    compiled = getattr(model, "_compile_metrics", None)
    given = [getattr(compiled, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]
    built = getattr(compiled, "metrics", None) or []
    found: dict[str, Literal["min", "max"]] = {}
    for metric in [*keras.tree.flatten(given), *built, *(getattr(model, "metrics", None) or [])]:
        direction = getattr(metric, "_direction", None)
        if isinstance(metric, keras.metrics.Metric) and direction in ("up", "down"):
            found[metric.name] = "max" if direction == "up" else "min"
    return found
