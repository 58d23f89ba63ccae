"""Private names of Keras models and layers: their parts, building, what `compile` was given."""

from __future__ import annotations

from typing import Any

import keras


def layers_of(layer: Any) -> list[Any]:
    """A layer and all layers inside it, at any depth. Reason: `layers` of a model is not recursive."""
    return list(layer._flatten_layers())


def seed_generators_of(layer: Any) -> list[Any]:
    """The generators of random seeds that a layer itself holds. Reason: their variables are listed
    without saying whose they are.
    """
    return list(layer._seed_generators)


def build_from_spec(model: Any, element_spec: Any) -> None:
    """Builds a compiled model, its metrics, loss and optimizer for batches of this form, without
    running a step.

    Reason: Keras builds metrics only in the first step, and a checkpoint is assigned before it.
    """
    model._symbolic_build(data_batch=element_spec)


def input_signature(model: Any) -> Any:
    """The form of a built model's inputs, as Keras' own exporter takes it. Reason: `model.export`
    gives no way to say `training=False`.
    """
    from keras.src.export.export_utils import get_input_signature

    return get_input_signature(model)


def declares_inputs(model: Any) -> bool:
    """Whether a model says what it is called with: a functional one, or a Sequential with an input.

    Reason: the class `Functional` has no public name.
    """
    from keras.src.models import Functional

    return isinstance(model, Functional) or (
        isinstance(model, keras.Sequential)
        and isinstance(getattr(model, "_functional", None), Functional)
    )


class _Exactly(int):
    """A number that counts also where it is 0: `fit` evaluates `model._initial_epoch or
    initial_epoch`.
    """

    def __bool__(self) -> bool:
        return True


def arguments_of_loss(loss: Any) -> dict[str, Any]:
    """What a loss passes on to its function. Reason: `get_config` of Huber and of others leaves it
    out.
    """
    return dict(getattr(loss, "_fn_kwargs", {}))


def compile_metrics_built(model: Any) -> bool:
    """Whether the metrics given to `compile` exist already."""
    metrics = getattr(model, "_compile_metrics", None)
    return metrics is None or bool(metrics.built)
