"""Finds the form of a Keras model's inputs, and makes a sample of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import keras_models
from ckptkit.errors import ExportError
from ckptkit.export import tensor_names
from ckptkit.printable_text import sentence


@dataclass(frozen=True)
class KerasInputs:
    """The inputs of a model.

    Args:
        specs: the form of each input, by parameter.
        sample: a batch, one value for each parameter; None if there is no sample.
        made: origin of the sample: `given`, `data` or `specs`.
    """

    specs: dict[str, Any]
    sample: list[Any] | None
    made: str


def keras_endpoint_inputs(
    model: Any, sample: Any, data_specs: Any, data_sample: Any, *, fixed_batch: bool = False
) -> KerasInputs:
    """Return the inputs of a model or layer.

    The first source that knows the form decides: the model's declaration, the sample, the training
    data, or the shapes that Keras remembers. A model that is not built is called with the sample.

    Raises:
        ExportError: If the inputs are unknown, or the sample has the wrong form.
    """
    if sample is not None and not model.built:
        model(*_positional(model, sample), training=False)
    if not model.built:
        raise ExportError(
            f"The model {model.name!r} has no variables yet, because the shape of its inputs is "
            "unknown. Call it once on a batch, or pass sample=batch."
        )
    chosen, made = (
        (sample, "given")
        if sample is not None
        else (data_sample, "data" if data_sample is not None else "specs")
    )
    if isinstance(model, keras.Model) and keras_models.declares_inputs(model):
        specs = {"inputs": _declared(model, fixed_batch=fixed_batch)}
        return KerasInputs(
            specs,
            None if chosen is None else tensor_names.conformed(specs, {"inputs": chosen}),
            made,
        )
    if chosen is None:
        return KerasInputs(_known(model, data_specs), None, made)
    values = _by_parameter(model, _positional(model, chosen))
    specs = {
        parameter: tf.nest.map_structure(_as_keras_takes_it, each)
        for parameter, each in tensor_names.specs_of(values).items()
    }
    return KerasInputs(specs, tensor_names.conformed(specs, values), made)


def _declared(model: Any, *, fixed_batch: bool) -> Any:
    """Return the declared inputs of a model, for any number of rows or for a fixed number."""
    specs = tensor_names.plain_specs(keras_models.input_signature(model)[0])
    if not fixed_batch:
        return specs
    flat = [
        tf.TensorSpec(tensor.shape, spec.dtype, spec.name)
        for spec, tensor in zip(tf.nest.flatten(specs), model.inputs, strict=True)
    ]
    return tf.nest.pack_sequence_as(specs, flat)


def _as_keras_takes_it(spec: Any) -> Any:
    """Return a spec in Keras' `floatx` instead of float64.

    NumPy's numbers have 64 bits by default, and Keras converts them. Callers of the export should
    not need 64 bits.
    """
    if not isinstance(spec, tf.TensorSpec) or spec.dtype != tf.float64:
        return spec
    return tf.TensorSpec(spec.shape, keras.config.floatx(), spec.name)


def _known(model: Any, data_specs: Any) -> dict[str, Any]:
    if data_specs is not None:
        specs = tf.nest.map_structure(
            lambda spec: _as_keras_takes_it(tensor_names.with_any_batch(spec)),
            tensor_names.plain_specs(data_specs),
        )
        return _by_parameter(model, _positional(model, specs))
    try:
        found = keras_models.input_signature(model)
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"The form of the inputs of {model.name!r} is unknown: {sentence(error)} Pass "
            "sample=batch."
        ) from error
    return _by_parameter(model, tuple(tensor_names.plain_specs(each) for each in found))


def _positional(model: Any, value: Any) -> tuple[Any, ...]:
    """Return the positional arguments for a value.

    A tuple holds one argument after the other if the model's `call` takes several. Otherwise the
    value is the first argument, as in `fit`.
    """
    several = len(_required(model)) > 1
    return value if several and isinstance(value, tuple) else (value,)


def _required(model: Any) -> list[str]:
    return tensor_names.required_parameters(model.call)


def _by_parameter(model: Any, values: tuple[Any, ...]) -> dict[str, Any]:
    if len(values) == 1 and isinstance(values[0], Mapping):
        return {"inputs": values[0]}
    return dict(zip(tensor_names.parameters_of(model.call, len(values)), values, strict=True))
