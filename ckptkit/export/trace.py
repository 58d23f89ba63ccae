"""Traces endpoints into graphs with stable names, and writes them as a SavedModel."""

from __future__ import annotations

import functools
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import xxhash

from ckptkit.bundle.tensor_bundle import open_reader, read_value
from ckptkit.compat import tf_functions
from ckptkit.errors import CorruptCheckpointError, ExportError
from ckptkit.export import graph_digest, tensor_names
from ckptkit.export.signatures import SERVING_DEFAULT, Endpoint
from ckptkit.exports.export_record import TensorForm
from ckptkit.storage.plain_paths import plain_directory
from ckptkit.tracking.reachable_objects import visit

_VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"


@dataclass(frozen=True)
class Traced:
    """An endpoint as a graph.

    Args:
        endpoint: the endpoint.
        method: the function with its nested arguments; the loaded object has it under the
            endpoint's name.
        signature: the same function with flat dictionaries of tensors as input and output.
        names: the names of the inputs, in the order of the flattened arguments.
        inputs: the forms of the inputs.
        outputs: the forms of the outputs.
    """

    endpoint: Endpoint
    method: Any
    signature: Any
    names: tuple[str, ...]
    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments for calling the live model in the comparison."""
        assert self.endpoint.sample is not None, "with_sample makes one"
        return self.endpoint.sample

    @property
    def sample(self) -> dict[str, tf.Tensor]:
        """The arguments for calling the live model, by input name."""
        return dict(zip(self.names, tf.nest.flatten(list(self.arguments)), strict=True))

    @property
    def half(self) -> bool:
        """Whether the graph computes something in 16 bits."""
        return tf_functions.computes_in_16_bits(self.signature)

    @property
    def graph(self) -> str:
        """A digest of the computation and of the values that it uses."""
        return graph_digest.digest(
            self.signature, lambda value: "/".join(map(str, _digest(value.numpy())))
        )


def flat_outputs(outputs: Any) -> dict[str, tf.Tensor]:
    """Return a function's outputs by the names of its signature."""
    return dict(
        zip(
            tensor_names.output_names(outputs),
            [tf.convert_to_tensor(place.tensor) for place in tensor_names.places(outputs)],
            strict=True,
        )
    )


def trace(endpoint: Endpoint) -> Traced:
    """Trace the graphs of an endpoint.

    Raises:
        ExportError: If the user's function cannot be traced, or its inputs or outputs cannot be
            named.
    """
    structure = list(endpoint.specs.values())
    names = tensor_names.input_names(endpoint.specs)
    found = [
        (parameter, place)
        for parameter, specs in endpoint.specs.items()
        for place in tensor_names.places(specs)
    ]
    method = tf.function(endpoint.live, input_signature=structure, autograph=endpoint.autograph)

    def flat(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return flat_outputs(
            method(*tf.nest.pack_sequence_as(structure, [tensors[name] for name in names]))
        )

    specs = {
        name: tf.TensorSpec(place.tensor.shape, place.tensor.dtype, name)
        for name, (_, place) in zip(names, found, strict=True)
    }
    try:
        signature = tf.function(flat, autograph=False).get_concrete_function(**specs)
    except (TypeError, ValueError) as error:
        if endpoint.sample is None:
            raise ExportError(
                f"signature {endpoint.name!r}: it does not accept inputs of the form {structure}: "
                f"{error}. Pass sample=, a batch of its real inputs, or the form of its inputs"
            ) from error
        # A function that creates its variables in its first call can only be traced afterwards.
        endpoint.live(*endpoint.sample)
        signature = tf.function(flat, autograph=False).get_concrete_function(**specs)
    return Traced(
        endpoint,
        method,
        signature,
        tuple(names),
        tuple(
            _form(name, place.tensor, tensor_names.argument_of(parameter, place))
            for name, (parameter, place) in zip(names, found, strict=True)
        ),
        tuple(_form(name, spec, "") for name, spec in sorted(signature.structured_outputs.items())),
    )


def with_sample(traced: Traced) -> Traced:
    """Return the endpoint with a sample that the live model accepts.

    The live model is called to find out. Its variables are restored afterwards.

    Raises:
        ExportError: If no sample is found.
        Exception: The live model's own exception for a batch of its data. The data may be meant for
            a custom train step, and not for the model.
    """
    endpoint = traced.endpoint
    with unchanged(traced.signature.variables):
        if endpoint.sample is None:
            return replace(
                traced,
                endpoint=replace(
                    endpoint,
                    sample=tensor_names.first_that_runs(
                        endpoint.live, tuple(endpoint.specs.values())
                    ),
                ),
            )
        if endpoint.made == "data":
            endpoint.live(*endpoint.sample)
    return traced


@contextmanager
def unchanged(variables: Sequence[tf.Variable]) -> Iterator[Callable[[], None]]:
    """Restore variables at the end of the block, or whenever the given function is called."""
    before = [
        (variable, variable.read_value())
        for variable in {id(variable): variable for variable in variables}.values()
    ]

    def put_back() -> None:
        for variable, value in before:
            if not np.array_equal(_bits(variable.numpy()), _bits(value.numpy())):
                variable.assign(value)

    try:
        yield put_back
    finally:
        put_back()


def _form(name: str, spec: Any, argument: str) -> TensorForm:
    return TensorForm(
        name=name,
        dtype=spec.dtype.name,
        shape=None if spec.shape.rank is None else tuple(spec.shape.as_list()),
        argument=argument,
    )


def variables_of(traced: Sequence[Traced], model: Any) -> list[tf.Variable]:
    """Return the variables to export: a Keras model's own, and all that a signature uses.

    The optimizer's variables are left out.
    """
    layers = [model, *(each.endpoint.owner for each in traced)]
    own = [
        variable
        for layer in layers
        if isinstance(layer, keras.Layer)
        for variable in layer.variables
    ]
    found = [
        variable.value if isinstance(variable, keras.Variable) else variable for variable in own
    ]
    found += [variable for each in traced for variable in each.signature.variables]
    return list({id(variable): variable for variable in found}.values())


def resources_of(traced: Sequence[Traced], model: Any) -> list[Any]:
    """Return lookup tables and similar resources, which TensorFlow must be given explicitly."""
    found = {}
    for root in _owners([model, *(each.endpoint.owner for each in traced)]):
        for _, value in visit(root):
            if isinstance(
                value, tf.saved_model.experimental.TrackableResource | tf.saved_model.Asset
            ):
                found[id(value)] = value
    return list(found.values())


def _owners(values: list[Any]) -> Iterator[Any]:
    """Yield the objects that functions use: their owners, closures and named globals."""
    seen: set[int] = set()
    todo = list(values)
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, functools.partial):
            todo += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, types.MethodType):
            todo += [value.__self__, value.__func__]
        elif isinstance(value, types.FunctionType):
            todo += [
                cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()
            ]
            todo += [
                value.__globals__[name]
                for name in value.__code__.co_names
                if name in value.__globals__
            ]
        elif hasattr(value, "python_function"):
            todo += [value.python_function, getattr(value, "__wrapped__", None)]
        elif value is not None and not isinstance(value, types.ModuleType | type):
            yield value


class _Root(tf.Module):
    """The object to save.

    It overrides properties of `tf.Module`, so that the loaded object has lists of variables, as
    from Keras, and methods of any name.
    """

    variables: Any = None
    trainable_variables: Any = None
    non_trainable_variables: Any = None
    submodules: Any = None
    name: Any = None
    name_scope: Any = None


def write(
    traced: Sequence[Traced],
    variables: Sequence[tf.Variable],
    resources: Sequence[Any],
    default: str,
    directory: Path,
) -> None:
    """Write a SavedModel with a method and a signature for each endpoint, and nothing else.

    Raises:
        ExportError: If a function uses a resource that was not found.
        Exception: What TensorFlow raises.
    """
    root = _Root()
    root.variables = list(variables)
    root.trainable_variables = [variable for variable in variables if variable.trainable]
    root.non_trainable_variables = [variable for variable in variables if not variable.trainable]
    root._resources = list(resources)
    for each in traced:
        setattr(root, each.endpoint.name, each.method)
    signatures = {each.endpoint.name: each.signature for each in traced}
    signatures.setdefault(SERVING_DEFAULT, signatures[default])
    try:
        with plain_directory(directory) as name:
            tf.saved_model.save(root, str(name), signatures=signatures)
    except AssertionError as error:
        if "untracked" not in str(error):
            raise
        raise ExportError(
            "a function uses a table or another resource that is neither in the model nor in the "
            "function's closure. Make it an attribute of a tf.Module, and export that. TensorFlow "
            f"says: {error}"
        ) from error


Digests = Counter[tuple[str, tuple[int, ...], str]]


def digests(variables: Sequence[tf.Variable]) -> Digests:
    """Return the type, the shape and a digest of the values of each variable."""
    return Counter(_digest(variable.numpy()) for variable in variables)


def check_variables(directory: Path, live: Digests) -> None:
    """Compare every bit of the variables in a SavedModel with those of the live model.

    Raises:
        ExportError: If a variable differs from all live ones, or one is missing.
        StorageError: If they cannot be read for another reason.
    """
    prefix = directory / "variables" / "variables"
    try:
        reader = open_reader(prefix)
        keys = [key for key in reader.get_variable_to_shape_map() if key.endswith(_VARIABLE)]
        left = Counter(live)
        for key in sorted(keys):
            found = _digest(read_value(reader, prefix, key))
            if found not in left:
                raise ExportError(
                    f"the variable {key.removesuffix(_VARIABLE)} in it "
                    f"({found[0]}{list(found[1])}) differs from every variable of the live model"
                )
            left[found] -= 1
    except CorruptCheckpointError as error:
        raise ExportError(f"its variables cannot be read: {error}") from error
    missing = [f"{dtype}{list(shape)}" for (dtype, shape, _), count in left.items() if count > 0]
    if missing:
        raise ExportError(
            f"{len(missing)} of the model's variables are missing from it: {', '.join(missing[:5])}"
        )


def _digest(value: Any) -> tuple[str, tuple[int, ...], str]:
    return (
        str(getattr(value, "dtype", type(value).__name__)),
        tuple(getattr(value, "shape", ())),
        xxhash.xxh3_128_hexdigest(_bits(value).data),
    )


def _bits(value: Any) -> np.ndarray:
    """Return the bytes of an array; copy it only if it holds strings or is not contiguous."""
    array = np.asarray(value)
    if array.dtype.kind in "OS":
        array = np.frombuffer(tf.io.serialize_tensor(tf.constant(value)).numpy(), np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
