"""From endpoints to graphs with stable names, and to the files of a SavedModel."""

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

from ckptkit.compat import tf_functions
from ckptkit.errors import ExportError
from ckptkit.export import graph_digest, tensor_names
from ckptkit.export.signatures import SERVING_DEFAULT, Endpoint
from ckptkit.exports.export_record import TensorForm
from ckptkit.tracking.reachable_objects import visit

_VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"


@dataclass(frozen=True)
class Traced:
    """An endpoint as a graph.

    Args:
        endpoint: which.
        method: the function with the arguments as they are, nested; the loaded object has it under
            the endpoint's name.
        signature: the same with a flat dictionary of tensors in and out.
        names: of the inputs, in the order of the flattened arguments.
        inputs: their forms.
        outputs: the outputs' forms.
    """

    endpoint: Endpoint
    method: Any
    signature: Any
    names: tuple[str, ...]
    inputs: tuple[TensorForm, ...]
    outputs: tuple[TensorForm, ...]

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What the live one is called with, to be compared."""
        assert self.endpoint.sample is not None, "with_sample makes one"
        return self.endpoint.sample

    @property
    def sample(self) -> dict[str, tf.Tensor]:
        """The same, by the inputs' names."""
        return dict(zip(self.names, tf.nest.flatten(list(self.arguments)), strict=True))

    @property
    def half(self) -> bool:
        """Whether it computes something in 16 bits."""
        return tf_functions.computes_in_16_bits(self.signature)

    @property
    def graph(self) -> str:
        """A digest of what it computes, and from which values."""
        return graph_digest.digest(
            self.signature, lambda value: "/".join(map(str, _digest(value.numpy())))
        )


def flat_outputs(outputs: Any) -> dict[str, tf.Tensor]:
    """What a function has returned, by the names that its signature gives to it."""
    return dict(
        zip(
            tensor_names.output_names(outputs),
            [tf.convert_to_tensor(place.tensor) for place in tensor_names.places(outputs)],
            strict=True,
        )
    )


def trace(endpoint: Endpoint) -> Traced:
    """Makes the graphs of an endpoint.

    Raises:
        ExportError: where the user's function cannot be traced, or its inputs or outputs cannot be
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
                f"signature {endpoint.name!r}: it does not take inputs of the form {structure}: "
                f"{error}. Pass sample=, what it is "
                f"called with, or the form of its inputs"
            ) from error
        endpoint.live(
            *endpoint.sample
        )  # functions that make their variables in their first call can be traced after it
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
    """The same with a sample that the live one takes. The live one is called for it, and then put
    back as it was.

    Raises:
        ExportError: where none is found.
        Exception: what the live one raises for a batch of its data: that may be for a train step of
            the user's own, and not for the model.
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
    """Variables that are changed inside the block have their values of before at its end, or when
    the function that is given is called.
    """
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
    """The variables that leave with the model: a Keras model's own, without its optimizer's, and
    all that a signature uses.
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
    """Lookup tables and their like, which TensorFlow wants to be told of."""
    found = {}
    for root in _owners([model, *(each.endpoint.owner for each in traced)]):
        for _, value in visit(root):
            if isinstance(
                value, tf.saved_model.experimental.TrackableResource | tf.saved_model.Asset
            ):
                found[id(value)] = value
    return list(found.values())


def _owners(values: list[Any]) -> Iterator[Any]:
    """What functions hold: their objects, what they close over, and the globals that they name."""
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
    """What is saved. The properties of `tf.Module` give way: the loaded object has lists of
    variables, as from Keras, and any name for a method.
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
    """Writes a SavedModel: a method and a signature for each endpoint, and what they use, and
    nothing else.

    Raises:
        ExportError: where a function uses something that was not found.
        Exception: what TensorFlow raises.
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
        tf.saved_model.save(root, str(directory), signatures=signatures)
    except AssertionError as error:
        if "untracked" not in str(error):
            raise
        raise ExportError(
            "a function uses a table or another resource that is found neither in the model nor "
            "in what the function closes over. "
            f"Make it an attribute of a tf.Module, and export that. {error}"
        ) from error


Digests = Counter[tuple[str, tuple[int, ...], str]]


def digests(variables: Sequence[tf.Variable]) -> Digests:
    """Type, shape and digest of the values of variables."""
    return Counter(_digest(variable.numpy()) for variable in variables)


def check_variables(directory: Path, live: Digests) -> None:
    """Compares every bit of the variables in a SavedModel with those of the live model.

    Raises:
        ExportError: where one has another value than all of the live ones, or one is not there.
    """
    try:
        reader = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
        keys = [key for key in reader.get_variable_to_shape_map() if key.endswith(_VARIABLE)]
        left = Counter(live)
        for key in sorted(keys):
            found = _digest(reader.get_tensor(key))
            if found not in left:
                raise ExportError(
                    f"the variable {key.removesuffix(_VARIABLE)} in it "
                    f"({found[0]}{list(found[1])}) has a value that no variable of "
                    f"the live model has"
                )
            left[found] -= 1
    except (tf.errors.OpError, IndexError, ValueError) as error:
        raise ExportError(f"its variables cannot be read: {error}") from error
    missing = [f"{dtype}{list(shape)}" for (dtype, shape, _), count in left.items() if count > 0]
    if missing:
        raise ExportError(
            f"{len(missing)} of the model's variables are not in it: {', '.join(missing[:5])}"
        )


def _digest(value: Any) -> tuple[str, tuple[int, ...], str]:
    return (
        str(getattr(value, "dtype", type(value).__name__)),
        tuple(getattr(value, "shape", ())),
        xxhash.xxh3_128_hexdigest(_bits(value).data),
    )


def _bits(value: Any) -> np.ndarray:
    """The bytes of an array, without a copy of it."""
    array = np.asarray(value)
    if array.dtype.kind in "OS":
        array = np.frombuffer(tf.io.serialize_tensor(tf.constant(value)).numpy(), np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
