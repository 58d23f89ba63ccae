"""Names the tensors in nested structures, and makes sample inputs from their forms."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ckptkit.errors import ExportError

_AUTOMATIC = re.compile(r"(keras_tensor|input_layer)(_\d+)?")
"""Matches Keras' names for unnamed inputs.

Their number counts all objects of the process, so a rebuilt model has different names.
"""

_SIZES = (1, 4, 8, 16, 32, 64, 128, 224)
"""The sizes to try for a dimension that is not fixed."""

SAMPLE_ROWS = 2


@dataclass(frozen=True)
class TensorPlace:
    """One tensor in a nested structure.

    Args:
        steps: the keys and indices that lead to it.
        tensor: the tensor or its spec.
    """

    steps: tuple[str | int, ...]
    tensor: Any


def places(structure: Any, steps: tuple[str | int, ...] = ()) -> list[TensorPlace]:
    """Return all tensors in nested lists, tuples and dictionaries, in the order of `tf.nest`.

    Raises:
        ExportError: If a value is not a dense tensor.
    """
    if isinstance(structure, Mapping):
        return [
            place
            for key in sorted(structure)
            for place in places(structure[key], (*steps, str(key)))
        ]
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return [
            place
            for name, item in zip(structure._fields, structure, strict=True)
            for place in places(item, (*steps, name))
        ]
    if isinstance(structure, list | tuple):
        return [
            place for index, item in enumerate(structure) for place in places(item, (*steps, index))
        ]
    if isinstance(
        structure,
        tf.TypeSpec
        | tf.Tensor
        | tf.Variable
        | np.ndarray
        | np.generic
        | int
        | float
        | bool
        | str
        | bytes,
    ):
        if isinstance(structure, tf.TypeSpec) and not isinstance(structure, tf.TensorSpec):
            raise ExportError(_NOT_DENSE.format(_way(steps), type(structure).__name__))
        return [TensorPlace(steps, structure)]
    if structure is None:
        return []
    if isinstance(structure, tf.RaggedTensor | tf.SparseTensor | tf.IndexedSlices):
        raise ExportError(_NOT_DENSE.format(_way(steps), type(structure).__name__))
    raise ExportError(
        f"A signature takes and returns tensors in lists, tuples and dictionaries; {_way(steps)} "
        f"is a {type(structure).__name__}."
    )


_NOT_DENSE = (
    "A signature takes and returns dense tensors, but {} is a {}. Convert it inside the function: "
    "take its parts, such as values and row splits, and return its parts, or to_tensor()."
)


def _way(steps: tuple[str | int, ...]) -> str:
    return "".join(f"[{step!r}]" for step in steps) or "it"


def input_names(arguments: Mapping[str, Any]) -> list[str]:
    """Return a name for each input tensor.

    The user's own name comes first: the tensor's name, a dictionary key, or the parameter.

    Args:
        arguments: the specs by parameter, in the order of the parameters.
    """
    short, long = [], []
    for parameter, specs in arguments.items():
        found = places(specs)
        for number, place in enumerate(found):
            name = getattr(place.tensor, "name", None)
            named = name if name and not _AUTOMATIC.fullmatch(name) else None
            key = next((step for step in reversed(place.steps) if isinstance(step, str)), None)
            last_is_key = bool(place.steps) and isinstance(place.steps[-1], str)
            counted = parameter if len(found) == 1 else f"{parameter}_{number}"
            short.append(_identifier(str(key) if last_is_key else named or counted))
            long.append(_identifier("_".join([parameter, *map(str, place.steps)])))
    twice = {name for name, count in Counter(short).items() if count > 1}
    return _unique(
        [other if name in twice else name for name, other in zip(short, long, strict=True)]
    )


def output_names(outputs: Any) -> list[str]:
    """Return a name for each output tensor.

    These are dictionary keys, or `output_0`, `output_1`, ... as TensorFlow and Keras count.
    """
    found = places(outputs)
    if all(place.steps and isinstance(place.steps[0], str) for place in found):
        return _unique(["_".join(map(str, place.steps)) for place in found])
    return [f"output_{number}" for number in range(len(found))]


def _identifier(name: str) -> str:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return plain if plain and not plain[0].isdigit() else f"input_{plain}"


def _unique(names: Sequence[str]) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ExportError(
            f"Two tensors of a signature would be named {twice[0]!r}. Give them different names: "
            "keys of one dictionary, or tf.TensorSpec(..., name=...)."
        )
    return list(names)


def argument_of(parameter: str, place: TensorPlace) -> str:
    """Return the Python expression for a tensor in an argument."""
    return parameter + "".join(f"[{step!r}]" for step in place.steps)


def specs_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of a sample, by parameter.

    The batch size is open if all tensors of the sample have the same number of rows.
    """
    tensors = {parameter: tensors_of(value) for parameter, value in values.items()}
    flat = [place.tensor for value in tensors.values() for place in places(value)]
    rows = {tensor.shape[0] for tensor in flat if tensor.shape.rank}
    dynamic = len(rows) == 1

    def form(tensor: tf.Tensor) -> tf.TensorSpec:
        shape = [None, *tensor.shape[1:]] if dynamic and tensor.shape.rank else tensor.shape
        return tf.TensorSpec(shape, tensor.dtype)

    return {parameter: tf.nest.map_structure(form, value) for parameter, value in tensors.items()}


def tensors_of(value: Any) -> Any:
    """Convert a sample's arrays to tensors, keeping their structure.

    A nested list of plain numbers or strings becomes one tensor, as in `tf.constant`.

    Raises:
        ExportError: If a value is not a dense tensor.
    """
    if isinstance(value, Mapping):
        return {key: tensors_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not _is_plain(value):
        items = [tensors_of(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    try:
        return tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"a sample holds {_kind(value)}, which is not a dense tensor: {error}"
        ) from error


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, int | float | complex | bool | str | bytes | np.generic)


def made_from(specs: Any, size: int) -> Any:
    """Make inputs of a given form; each call makes the same values.

    `size` replaces each open dimension except the first one.
    """
    random = np.random.default_rng(20_240_229)

    def make(spec: tf.TensorSpec) -> tf.Tensor:
        sizes = (
            [SAMPLE_ROWS]
            if spec.shape.rank is None
            else [
                (SAMPLE_ROWS if index == 0 else size) if given is None else given
                for index, given in enumerate(spec.shape)
            ]
        )
        if spec.dtype == tf.string:
            return tf.constant(np.full(sizes, b"a b", object), tf.string, sizes)
        if spec.dtype == tf.bool:
            return tf.constant(random.integers(0, 2, sizes).astype(bool))
        if spec.dtype.is_floating or spec.dtype.is_complex:
            return tf.cast(random.random(sizes), spec.dtype)
        return tf.cast(random.integers(0, 2, sizes), spec.dtype)

    return tf.nest.map_structure(make, specs)


def first_that_runs(live: Callable[..., Any], specs: Any) -> Any:
    """Make inputs from specs and return the first that a function accepts.

    Raises:
        ExportError: If the function accepts none of them.
    """
    open_sizes = any(
        None in place.tensor.shape[1:] for place in places(specs) if place.tensor.shape.rank
    )
    problem: Exception | None = None
    for size in _SIZES if open_sizes else _SIZES[:1]:
        sample = made_from(specs, size)
        try:
            live(*sample)
        except Exception as error:
            problem = error
        else:
            return sample
    raise ExportError(
        f"it accepts none of the inputs that were made for it: {problem}. Pass sample=, a batch "
        "of its real inputs"
    ) from problem


def plain_specs(specs: Any) -> Any:
    """Convert specs of TensorFlow, Keras or NumPy in a structure to `tf.TensorSpec`."""

    def plain(spec: Any) -> Any:
        if isinstance(spec, tf.TypeSpec):
            return spec
        if hasattr(spec, "shape") and hasattr(spec, "dtype"):
            return tf.TensorSpec(spec.shape, spec.dtype, getattr(spec, "name", None))
        raise ExportError(f"The form of an input is a tf.TensorSpec. Received: {spec!r}.")

    return tf.nest.map_structure(plain, specs)


def with_any_batch(spec: Any) -> Any:
    """Return a spec whose first dimension may have any size."""
    if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank:
        return spec
    return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, spec.name)


def conformed(specs: Mapping[str, Any], values: Mapping[str, Any]) -> list[Any]:
    """Convert a sample to tensors of the types in the specs, by parameter.

    Raises:
        ExportError: If its structure or shape is different.
    """
    if specs.keys() != values.keys():
        raise ExportError(f"the sample has {', '.join(values)}. Expected: {', '.join(specs)}.")
    return [_conformed(specs[name], values[name], name) for name in specs]


def _conformed(spec: Any, value: Any, where: str) -> Any:
    if isinstance(spec, Mapping):
        if not isinstance(value, Mapping) or set(spec) - set(value):
            raise ExportError(
                f"the sample's {where} is {_kind(value)}. Expected a dictionary with "
                f"{', '.join(map(str, spec))}."
            )
        return {
            key: _conformed(item, value[key], f"{where}[{key!r}]") for key, item in spec.items()
        }
    if isinstance(spec, list | tuple):
        if isinstance(value, Mapping):
            value = [
                value[getattr(item, "name", None)]
                for item in spec
                if getattr(item, "name", None) in value
            ]
        if not isinstance(value, list | tuple) or len(value) != len(spec):
            raise ExportError(
                f"the sample's {where} is {_kind(value)}. Expected {len(spec)} inputs."
            )
        items = [
            _conformed(item, each, f"{where}[{index}]")
            for index, (item, each) in enumerate(zip(spec, value, strict=True))
        ]
        return type(spec)(*items) if hasattr(spec, "_fields") else type(spec)(items)
    try:
        tensor = tf.convert_to_tensor(value)
        if tensor.dtype != spec.dtype and tf.string not in (tensor.dtype, spec.dtype):
            tensor = tf.cast(tensor, spec.dtype)
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"the sample's {where} is {_kind(value)}, which is not a dense tensor: {error}"
        ) from error
    if tensor.dtype != spec.dtype or not spec.shape.is_compatible_with(tensor.shape):
        raise ExportError(
            f"the sample's {where} is {tensor.dtype.name}{tensor.shape}. Expected "
            f"{spec.dtype.name}{spec.shape}."
        )
    return tensor


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary with {', '.join(map(str, value))}"
    return f"a {type(value).__name__}" + (
        f" of {len(value)}" if isinstance(value, list | tuple) else ""
    )


def required_parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of positional parameters without a default."""
    return [
        name
        for name, parameter in _parameters(function).items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]


def by_parameter(function: Any, values: Any) -> dict[str, Any] | None:
    """Return values in the order of the function's parameters, or None.

    None means that the values are not a dictionary of these parameters.
    """
    if not isinstance(values, Mapping) or not values:
        return None
    if isinstance(function, tf.types.experimental.ConcreteFunction):
        return dict(values) if set(values) == set(function.structured_input_signature[1]) else None
    names = [
        name
        for name, parameter in _parameters(function).items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    return (
        {name: values[name] for name in names if name in values}
        if set(values) <= set(names)
        else None
    )


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(getattr(function, "python_function", function)).parameters
    except (TypeError, ValueError):
        return {}


def parameters_of(function: Callable[..., Any], count: int) -> list[str]:
    """Return the names of a function's first positional parameters.

    If the function does not reveal them, the names are `inputs` or `args_<n>`.
    """
    found = [
        name
        for name, parameter in _parameters(function).items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name != "self"
    ]
    if len(found) >= count:
        return found[:count]
    return ["inputs"] if count == 1 else [f"args_{index}" for index in range(count)]
