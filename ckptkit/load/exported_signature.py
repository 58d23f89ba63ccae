"""Calls a signature of an exported model: checks the arrays, and returns arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ckptkit.bundle.tensor_bundle import first_line
from ckptkit.errors import ConfigError
from ckptkit.restore.state_comparison import shown_form


@dataclass(frozen=True)
class ExportedTensor:
    """An input or output of a signature.

    Args:
        name: its name in calls and results.
        shape: its dimensions, with None for any size; None if the number of dimensions is not
            fixed.
        dtype: TensorFlow's name of the type.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}: {shown_form(self.shape, self.dtype)}"


class Signature:
    """One function of an exported model; takes arrays by position or name, returns arrays by name.

    Args:
        name: the name of the signature.
        function: TensorFlow's function.
        inputs: the inputs, in the order of positional arguments.
        outputs: the outputs, in the order of their names.
        ordered: whether the order of inputs is known; if not, inputs must be passed by name.

    Example:
        >>> import ckptkit, keras, numpy as np, pathlib
        >>> base = pathlib.Path("runs/new") / "export"
        >>> model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
        >>> model.export(base, verbose=False)
        >>> signature = ckptkit.load_exported(base).signatures["serving_default"]
        >>> signature
        serving_default(x: (?, 4) float32) -> output_0: (?, 2) float32
        >>> signature(x=np.ones((3, 4), "float32"))["output_0"].shape
        (3, 2)
    """

    def __init__(
        self,
        name: str,
        function: Any,
        inputs: tuple[ExportedTensor, ...],
        outputs: tuple[ExportedTensor, ...],
        *,
        ordered: bool,
    ) -> None:
        self.name = name
        self.inputs = {each.name: each for each in inputs}
        self.outputs = {each.name: each for each in outputs}
        self._function = function
        self._ordered = ordered

    def __call__(self, *positional: Any, **named: Any) -> dict[str, Any]:
        """Run the signature.

        Args:
            *positional: inputs in order; or one dictionary, or one list of all inputs.
            **named: inputs by name.

        Returns:
            The outputs by name, as NumPy arrays.

        Raises:
            ConfigError: If an input is missing, unknown, or has an unexpected shape or type.
        """
        given = self._by_name(positional, named)
        arguments = {name: self._fitting(form, given[name]) for name, form in self.inputs.items()}
        try:
            returned = self._function(**arguments)
        except tf.errors.InvalidArgumentError as error:
            raise ConfigError(
                f"The signature {self.name!r} refused its inputs: {first_line(error)}. Expected "
                f"{self._wanted()}."
            ) from error
        return {name: returned[name].numpy() for name in self.outputs}

    def __repr__(self) -> str:
        return (
            f"{self.name}({', '.join(map(str, self.inputs.values()))}) -> "
            f"{', '.join(map(str, self.outputs.values())) or 'nothing'}"
        )

    def _wanted(self) -> str:
        return ", ".join(map(str, self.inputs.values())) or "no inputs"

    def _by_name(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        if len(positional) == 1 and not named:
            (only,) = positional
            if isinstance(only, Mapping):
                positional, named = (), {str(name): value for name, value in only.items()}
            elif len(self.inputs) > 1 and isinstance(only, list | tuple):
                positional = tuple(only)
        if len(positional) > len(self.inputs):
            raise ConfigError(
                f"The signature {self.name!r} takes {len(self.inputs)} inputs. Received "
                f"{len(positional)}. Expected {self._wanted()}."
            )
        if len(positional) > 1 and not self._ordered:
            raise ConfigError(
                f"This SavedModel does not say in which order {self.name!r} takes its inputs. "
                f"Pass them by name: {self._wanted()}."
            )
        given = dict(zip(self.inputs, positional, strict=False))
        twice = sorted(given.keys() & named.keys())
        unknown = sorted(named.keys() - self.inputs.keys())
        missing = [name for name in self.inputs if name not in given and name not in named]
        problems = [
            f"{what} {', '.join(map(repr, names))}"
            for what, names in (
                ("by position and by name", twice),
                ("unknown", unknown),
                ("missing", missing),
            )
            if names
        ]
        if problems:
            raise ConfigError(
                f"The signature {self.name!r} expects {self._wanted()}. Received: "
                f"{'; '.join(problems)}."
            )
        return {**given, **named}

    def _fitting(self, form: ExportedTensor, value: Any) -> tf.Tensor:
        """Return an input as a tensor.

        Raises:
            ConfigError: If its shape or type is wrong.
        """
        expected = tf.as_dtype(form.dtype)
        typed = hasattr(value, "dtype") and hasattr(value, "shape")
        try:
            tensor = tf.convert_to_tensor(value) if typed else tf.convert_to_tensor(value, expected)
        except (TypeError, ValueError, tf.errors.OpError) as error:
            raise ConfigError(
                f"The input {form.name!r} of {self.name!r} is {form}. Received "
                f"{type(value).__name__}, which cannot be converted: {first_line(error)}"
            ) from error
        if tensor.dtype != expected:
            raise ConfigError(
                f"The input {form.name!r} of {self.name!r} has the wrong type. Expected "
                f"{form.dtype}. Received {tensor.dtype.name}. Convert it, as in "
                f"numpy.asarray(x, {expected.name!r})."
            )
        if not tf.TensorShape(form.shape).is_compatible_with(tensor.shape):
            raise ConfigError(
                f"The input {form.name!r} of {self.name!r} has the wrong shape. Expected {form}. "
                f"Received {shown_form(tuple(tensor.shape), tensor.dtype.name)}."
            )
        return tensor
