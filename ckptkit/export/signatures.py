"""Finds the endpoints of an export: functions whose input form is known, each with a sample."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import object_attributes
from ckptkit.errors import ConfigError, ExportError
from ckptkit.export import tensor_names
from ckptkit.export.keras_inputs import keras_endpoint_inputs
from ckptkit.printable_text import sentence

SERVE = "serve"
SERVING_DEFAULT = "serving_default"


@dataclass(frozen=True)
class Endpoint:
    """One function that is exported with the model.

    Args:
        name: the name of the signature and of the loaded object's method.
        live: calls the live function with positional arguments, untraced.
        owner: the object that the user gave; lookup tables are searched for in it.
        specs: the form of each argument, by parameter.
        sample: the arguments to check it with; None to make them from the specs.
        made: the origin of the sample: `given`, `data` or `specs`.
        autograph: whether its Python control flow is converted to TensorFlow's.
    """

    name: str
    live: Callable[..., Any]
    owner: Any
    specs: dict[str, Any]
    sample: tuple[Any, ...] | None
    made: str
    autograph: bool = True


@dataclass(frozen=True)
class DataForm:
    """The inputs of a model, as derived from the data of its `fit`.

    Args:
        specs: the form of the inputs, or None.
        sample: a batch of inputs, or None.
        fixed_batch: whether a model with a fixed batch size keeps that size in the export.
    """

    specs: Any = None
    sample: Any = None
    fixed_batch: bool = False


def find_endpoints(
    model: Any, signatures: Mapping[str, Any] | None, sample: Any, data: DataForm | None = None
) -> list[Endpoint]:
    """Return the endpoints of a model, the default one first.

    Args:
        model: a Keras model or layer, a tf.Module, or a function.
        signatures: further functions by name.
        sample: inputs of the default signature, or a dictionary of inputs by signature.
        data: what is known about the training data.

    Raises:
        ConfigError: If an argument is invalid.
        ExportError: If the form of the inputs is unknown.
    """
    given = check_signatures(signatures)
    samples = (
        _by_signature(sample, {SERVE, SERVING_DEFAULT, *given})
        if given or isinstance(sample, Mapping)
        else {SERVE: sample}
    )
    # A method that the user passed in `signatures` is exported under that name only.
    methods = {
        name: method
        for name, method in _methods_of(model).items()
        if name not in given and not _is_among(method, given)
    }
    named = {**given, **methods}
    found: list[Endpoint] = []
    if not named.keys() & {SERVE, SERVING_DEFAULT}:
        found += _itself(
            model, samples.get(SERVE, samples.get(SERVING_DEFAULT)), data or DataForm(), given
        )
    found += [
        _endpoint(name, value, samples.get(name), DataForm()) for name, value in named.items()
    ]
    if not found:
        raise ConfigError(
            f"{type(model).__name__} has no function with known inputs. Decorate __call__ or "
            "a method with @tf.function(input_signature=[...]), pass sample=, a batch of its "
            "inputs, or signatures={'name': module.method}."
        )
    # The sort is stable: endpoints of the same rank keep the user's order.
    return sorted(found, key=lambda endpoint: _rank(endpoint, model))


def _rank(endpoint: Endpoint, model: Any) -> int:
    """Return the sort key of an endpoint: named defaults first, then the model itself."""
    if endpoint.name in (SERVING_DEFAULT, SERVE):
        return 0 if endpoint.name == SERVING_DEFAULT else 1
    return 2 if _is_itself(endpoint.owner, model) else 3


def check_signatures(signatures: object) -> dict[str, Any]:
    """Check the names and kinds of `signatures={...}`.

    Raises:
        ConfigError: If a name or kind is invalid.
    """
    if signatures is None:
        return {}
    if not isinstance(signatures, Mapping) or not signatures:
        raise ConfigError(
            f"signatures names functions, as in signatures={{'encode': model.encode}}. Received: "
            f"{signatures!r}."
        )
    for name, value in signatures.items():
        if (
            not isinstance(name, str)
            or not name.isidentifier()
            or name.startswith("_")
            or name in ("signatures", *_VARIABLES)
        ):
            raise ConfigError(
                "A signature's name becomes a method of the loaded model: letters, digits and "
                f"'_', not beginning with a digit or '_', and not {', '.join(_VARIABLES)} or "
                f"signatures. Received: {name!r}."
            )
        function = value[0] if isinstance(value, tuple) and len(value) == 2 else value
        if not callable(function):
            raise ConfigError(
                "A signature is a function, a tf.function, a Keras model or a Keras layer. To give "
                "the form of its inputs, pass a tuple such as (function, [tf.TensorSpec(...)]). "
                f"Received for {name!r}: {value!r}."
            )
    return dict(signatures)


_VARIABLES = ("variables", "trainable_variables", "non_trainable_variables")
"""Further attributes of the loaded model, as in Keras' `model.export`."""


def _by_signature(sample: Any, names: set[str]) -> dict[str, Any]:
    by_name = isinstance(sample, Mapping) and bool(sample) and set(sample) <= names
    return dict(sample) if by_name else {SERVE: sample}


def _itself(model: Any, sample: Any, data: DataForm, given: Mapping[str, Any]) -> list[Endpoint]:
    """Return the endpoint of the model itself.

    The list is empty if the model is not callable, or is already among the signatures. In all other
    cases an unknown input form is an error, or another function would be served instead.
    """
    if isinstance(model, keras.Model) and type(model).call is keras.Model.call:
        if given:
            return []
        raise ExportError(_nothing_to_serve(model))
    call = _call_of(model)
    if call is None:
        if not given and not isinstance(model, tf.Module):
            raise ConfigError(
                "export_saved_model takes a Keras model or layer, a tf.Module or a function. "
                f"Received: {type(model).__name__}."
            )
        return []
    is_known = sample is not None or (
        model.built
        if isinstance(model, keras.Layer)
        else getattr(call, "input_signature", None) is not None
    )
    if not is_known and _is_among(call, given):
        return []
    try:
        return [_endpoint(SERVE, call, sample, data)]
    except ExportError as error:
        if is_known:
            raise
        raise ExportError(
            f"{sentence(error)} It would be the default signature; signatures={{'serving_default': "
            f"...}} chooses another one."
        ) from error


def _nothing_to_serve(model: Any) -> str:
    """Return what to do with a model that has a train step, and no function of its own."""
    parts = [
        name
        for name, value in object_attributes.attributes(model)
        if isinstance(value, keras.Model) and not name.startswith("_")
    ]
    chosen = parts[-1] if parts else "decoder"
    return (
        f"the model {model.name!r} ({type(model).__name__}) has no call(), so it cannot be served "
        "as a whole. Name the models in it that are to be served, as in "
        f"signatures={{'serving_default': model.{chosen}}}; for a callback, "
        f"export=ckptkit.ExportSpec(signatures={{'serving_default': model.{chosen}}}). "
        f"It has: {', '.join(parts) or 'none as an attribute'}."
    )


def _call_of(model: Any) -> Any:
    """Return the callable of a model, or None if it is not callable."""
    if isinstance(model, tf.Module) and not isinstance(model, keras.Layer):
        return model.__call__ if callable(model) else None
    return model if callable(model) and not isinstance(model, type) else None


def _is_itself(function: Any, model: Any) -> bool:
    return function is model or function == _call_of(model)


def _is_among(function: Any, given: Mapping[str, Any]) -> bool:
    functions = [value[0] if isinstance(value, tuple) else value for value in given.values()]
    return any(each is function or _call_of(each) == function for each in functions)


def _methods_of(model: Any) -> dict[str, Any]:
    """Return the methods of a module that are tf.functions with an input signature."""
    if not isinstance(model, tf.Module) or isinstance(model, keras.Layer):
        return {}
    names = [name for cls in type(model).__mro__ for name in vars(cls) if not name.startswith("_")]
    names += [name for name in vars(model) if not name.startswith("_")]
    names = [
        name
        for name in sorted(set(names))
        if not isinstance(inspect.getattr_static(model, name), property)
    ]
    found = {name: getattr(model, name, None) for name in names}
    return {
        name: method
        for name, method in found.items()
        if getattr(method, "input_signature", None) is not None
    }


def _endpoint(name: str, value: Any, sample: Any, data: DataForm) -> Endpoint:
    function, wanted = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    try:
        if isinstance(function, keras.Layer):
            if wanted is not None:
                data = DataForm(tensor_names.plain_specs(wanted), None)
            return _of_keras(name, function, sample, data)
        return _of_function(name, function, wanted, sample)
    except (ExportError, ConfigError) as error:
        raise type(error)(f"signature {name!r}: {error}") from error


def _of_keras(name: str, model: Any, sample: Any, data: DataForm) -> Endpoint:
    def live(*inputs: Any) -> Any:
        # Keras' own exporter leaves `training` open, and augmentation layers read that as True.
        return model(*inputs, training=False)

    found = keras_endpoint_inputs(
        model, sample, data.specs, data.sample, fixed_batch=data.fixed_batch
    )
    return Endpoint(
        name,
        live,
        model,
        found.specs,
        None if found.sample is None else tuple(found.sample),
        found.made,
        autograph=False,
    )


def _of_function(name: str, function: Any, wanted: Any, sample: Any) -> Endpoint:
    own = getattr(function, "input_signature", None)
    if wanted is None and own is not None:
        wanted = tuple(own)
    if isinstance(function, tf.types.experimental.ConcreteFunction):
        wanted = _of_concrete(function)
    if wanted is None and sample is None:
        raise ExportError(
            "the form of its inputs is unknown. Pass sample=, a batch of its inputs (a tuple for "
            "several arguments; a dictionary by name for several signatures), or "
            "signatures={'name': (function, [tf.TensorSpec(...), ...])}"
        )
    if wanted is not None:
        specs, by_name = _arguments(function, tensor_names.plain_specs(wanted), lists=True)
        arguments = (
            None
            if sample is None
            else tensor_names.conformed(specs, _arguments(function, sample)[0])
        )
    else:
        values, by_name = _arguments(function, sample)
        specs = tensor_names.specs_of(values)
        arguments = tensor_names.conformed(specs, values)

    def live(*inputs: Any) -> Any:
        return function(**dict(zip(specs, inputs, strict=True))) if by_name else function(*inputs)

    return Endpoint(
        name,
        live,
        function,
        specs,
        None if arguments is None else tuple(arguments),
        "specs" if arguments is None else "given",
    )


def _of_concrete(function: Any) -> Any:
    positional, by_name = function.structured_input_signature
    if positional and by_name:
        raise ExportError(
            "it takes some inputs by position and some by name. Pass the tf.function it was "
            "traced from, with the form of its inputs"
        )
    return by_name or tuple(positional)


def _arguments(function: Any, values: Any, *, lists: bool = False) -> tuple[dict[str, Any], bool]:
    """Return arguments by parameter, and whether they must be passed by name.

    A tuple holds one argument after the other (specs may be in a list, too). A dictionary whose
    keys are parameters is passed by name. Everything else is the first argument.
    """
    by_name = tensor_names.by_parameter(function, values)
    if by_name is not None:
        return by_name, True
    positional = (
        tuple(values)
        if isinstance(values, tuple) or (lists and isinstance(values, list))
        else (values,)
    )
    return dict(
        zip(tensor_names.parameters_of(function, len(positional)), positional, strict=True)
    ), False
