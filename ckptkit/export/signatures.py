"""From what the user exports to its endpoints: functions with inputs of a known form, and a sample for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from ckptkit.errors import ConfigError, ExportError
from ckptkit.export import forms
from ckptkit.export.keras_inputs import keras_endpoint_inputs

SERVE = "serve"
SERVING_DEFAULT = "serving_default"


@dataclass(frozen=True)
class Endpoint:
    """One function that leaves with the model.

    Args:
        name: of the signature and of the loaded object's method.
        live: calls the live one, positionally; nothing of it is traced.
        owner: what the user gave; where its tables are looked for.
        specs: the form of each argument, by parameter.
        sample: arguments to check it with; None where they are to be made from the specs.
        made: how the sample came about: `given`, `data` or `specs`.
        autograph: whether Python's control flow in it is turned into TensorFlow's.
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
    """What a `fit` knows of its data.

    Args:
        specs: the form of its inputs, or None.
        sample: a batch of them, or None.
        fixed_batch: whether a model that was made for a number of rows is exported for that number, and not for any.
    """

    specs: Any = None
    sample: Any = None
    fixed_batch: bool = False


def find_endpoints(model: Any, signatures: Mapping[str, Any] | None, sample: Any, data: DataForm | None = None) -> list[Endpoint]:
    """The endpoints of a model, the default one first.

    Args:
        model: a Keras model or layer, a tf.Module, or a function.
        signatures: further ones by name.
        sample: inputs of the default one; or, by names of signatures, of each.
        data: what is known of the data that it was trained with.

    Raises:
        ConfigError: where an argument cannot be right.
        ExportError: where the form of the inputs is not known.
    """
    given = check_signatures(signatures)
    samples = _by_signature(sample, {SERVE, SERVING_DEFAULT, *given}) if given or isinstance(sample, Mapping) else {SERVE: sample}
    default = samples.get(SERVE, samples.get(SERVING_DEFAULT))
    found: list[Endpoint] = []
    if SERVE not in given and SERVING_DEFAULT not in given:
        found += _default(model, default, data or DataForm(), alone=not given)
    found += [_endpoint(name, value, samples.get(name), DataForm()) for name, value in given.items()]
    return found


def check_signatures(signatures: object) -> dict[str, Any]:
    """Checks the names and kinds of `signatures={...}`.

    Raises:
        ConfigError: where one cannot be right.
    """
    if signatures is None:
        return {}
    if not isinstance(signatures, Mapping) or not signatures:
        raise ConfigError(f"signatures names functions, as in signatures={{'encode': model.encode}}. Received: {signatures!r}.")
    for name, value in signatures.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_") or name in ("signatures", *_VARIABLES):
            raise ConfigError(f"A signature's name becomes a method of the loaded model: letters, digits and '_', not beginning with a digit or "
                              f"'_', and not {', '.join(_VARIABLES)} or signatures. Received: {name!r}.")
        function = value[0] if isinstance(value, tuple) and len(value) == 2 else value
        if not callable(function):
            raise ConfigError(f"A signature is a function, a tf.function, a Keras model or layer, or a tuple of one and the form of its inputs "
                              f"(tf.TensorSpec). Received for {name!r}: {value!r}.")
    return dict(signatures)


_VARIABLES = ("variables", "trainable_variables", "non_trainable_variables")
"""What the loaded model has beside its signatures, as `model.export` of Keras has it."""


def _by_signature(sample: Any, names: set[str]) -> dict[str, Any]:
    by_name = isinstance(sample, Mapping) and bool(sample) and set(sample) <= names
    return dict(sample) if by_name else {SERVE: sample}


def _default(model: Any, sample: Any, data: DataForm, *, alone: bool) -> list[Endpoint]:
    if isinstance(model, keras.Layer):
        if not alone and not model.built and sample is None:
            return []
        return [_endpoint(SERVE, model, sample, data)]
    if isinstance(model, tf.Module):
        found = [_endpoint(SERVE, model.__call__, sample, data)] if _is_ready(inspect.getattr_static(type(model), "__call__", None), sample) else []
        if alone:
            found += [_endpoint(name, getattr(model, name), None, DataForm()) for name in _functions_of(model)]
        if not found and alone:
            raise ConfigError(f"{type(model).__name__} has no function whose inputs are known. Give __call__ or a method a "
                              f"@tf.function(input_signature=[...]), pass sample=, what it is called with, or signatures={{'name': module.method}}.")
        return found
    if callable(model) and not isinstance(model, type):
        return [_endpoint(SERVE, model, sample, data)] if alone or sample is not None else []
    if alone:
        raise ConfigError(f"export_saved_model takes a Keras model or layer, a tf.Module or a function. Received: {type(model).__name__}.")
    return []


def _is_ready(call: Any, sample: Any) -> bool:
    return call is not None and (sample is not None or getattr(call, "input_signature", None) is not None)


def _functions_of(module: tf.Module) -> list[str]:
    """The methods of a module that are tf.functions with a signature of their own."""
    names = [name for cls in type(module).__mro__ for name in vars(cls) if not name.startswith("_")]
    names += [name for name in vars(module) if not name.startswith("_")]
    found = [name for name in dict.fromkeys(names) if not isinstance(inspect.getattr_static(module, name), property)]
    return sorted(name for name in found if getattr(getattr(module, name, None), "input_signature", None) is not None)


def _endpoint(name: str, value: Any, sample: Any, data: DataForm) -> Endpoint:
    function, wanted = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    try:
        if isinstance(function, keras.Layer):
            if wanted is not None:
                data = DataForm(forms.plain_specs(wanted), None)
            return _of_keras(name, function, sample, data)
        return _of_function(name, function, wanted, sample)
    except (ExportError, ConfigError) as error:
        raise type(error)(f"signature {name!r}: {error}") from error


def _of_keras(name: str, model: Any, sample: Any, data: DataForm) -> Endpoint:
    def live(*inputs: Any) -> Any:
        return model(*inputs, training=False)  # Keras' own exporter leaves it open, and augmentation layers take open for true

    found = keras_endpoint_inputs(model, sample, data.specs, data.sample, fixed_batch=data.fixed_batch)
    return Endpoint(name, live, model, found.specs, None if found.sample is None else tuple(found.sample), found.made, autograph=False)


def _of_function(name: str, function: Any, wanted: Any, sample: Any) -> Endpoint:
    own = getattr(function, "input_signature", None)
    if wanted is None and own is not None:
        wanted = tuple(own)
    if isinstance(function, tf.types.experimental.ConcreteFunction):
        wanted = _of_concrete(function)
    if wanted is None and sample is None:
        raise ExportError("the form of its inputs is not known. Pass sample=, what it is called with (a tuple for several arguments; with several "
                          "signatures a dictionary by their names), or signatures={'name': (function, [tf.TensorSpec(...), ...])}")
    if wanted is not None:
        specs, by_name = _arguments(function, forms.plain_specs(wanted), lists=True)
        arguments = None if sample is None else forms.conformed(specs, _arguments(function, sample)[0])
    else:
        values, by_name = _arguments(function, sample)
        specs = forms.specs_of(values)
        arguments = forms.conformed(specs, values)

    def live(*inputs: Any) -> Any:
        return function(**dict(zip(specs, inputs, strict=True))) if by_name else function(*inputs)

    return Endpoint(name, live, function, specs, None if arguments is None else tuple(arguments), "specs" if arguments is None else "given")


def _of_concrete(function: Any) -> Any:
    positional, by_name = function.structured_input_signature
    if positional and by_name:
        raise ExportError("it takes some inputs by position and some by name. Pass the tf.function that it came from, with the form of its inputs")
    return by_name or tuple(positional)


def _arguments(function: Any, values: Any, *, lists: bool = False) -> tuple[dict[str, Any], bool]:
    """Arguments by parameter, and whether they have to be passed by name.

    A tuple is one argument after the other (specs may be in a list, too), a dictionary whose keys are parameters is by name, and everything else is
    the first argument.
    """
    by_name = forms.by_parameter(function, values)
    if by_name is not None:
        return by_name, True
    positional = tuple(values) if isinstance(values, tuple) or (lists and isinstance(values, list)) else (values,)
    return dict(zip(forms.parameters_of(function, len(positional)), positional, strict=True)), False
