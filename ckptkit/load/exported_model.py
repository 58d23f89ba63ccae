"""`load_exported`: a SavedModel as a callable object that describes its inputs and outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.compat import tf_functions
from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError, ExportError
from ckptkit.exports.export_record import read_export
from ckptkit.exports.version_directories import list_versions, version_number, versions_in
from ckptkit.layout import CheckpointName
from ckptkit.load.checkpoint_weights import VARIABLES
from ckptkit.load.formats import SAVED_MODEL, Format, FoundFormat, path_of, recognise
from ckptkit.restore.state_comparison import shown_form
from ckptkit.storage.plain_paths import opened, plain_directory
from ckptkit.writing.tensor_errors import first_line, judging_tensorflow

DEFAULTS = ("serving_default", "serve")
"""The signatures that a call of the whole object tries, in this order."""

_UNKNOWN_OP = re.compile(r"Op type not registered '(\w+)'")


@dataclass(frozen=True)
class ExportedTensor:
    """An input or output of a signature.

    Args:
        name: the name it is passed or returned under.
        shape: its dimensions, None for any size; None as a whole if the rank is open.
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
        name: name of the signature.
        function: TensorFlow's function.
        inputs: in the order of positional arguments.
        outputs: in the order of their names.
        ordered: whether that order of inputs is known; if not, inputs are passed by name only.

    Example:
        >>> import ckptkit, keras, numpy as np, pathlib
        >>> base = pathlib.Path(new_directory) / "export"
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
            ConfigError: If its shape or type is not the expected one.
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
                f"The input {form.name!r} of {self.name!r} has another type. Expected "
                f"{form.dtype}. Received {tensor.dtype.name}. Convert it, as in "
                f"numpy.asarray(x, {expected.name!r})."
            )
        if not tf.TensorShape(form.shape).is_compatible_with(tensor.shape):
            raise ConfigError(
                f"The input {form.name!r} of {self.name!r} has another shape. Expected {form}. "
                f"Received {shown_form(tuple(tensor.shape), tensor.dtype.name)}."
            )
        return tensor


class ExportedModel:
    """An exported model. A call runs its default signature; `signatures` holds all of them.

    Args:
        path: the directory it was loaded from.
        loaded: TensorFlow's object, which keeps the variables alive.
        signatures: by name.

    Example:
        >>> import ckptkit, keras, numpy as np, pathlib
        >>> model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
        >>> model.export(pathlib.Path(new_directory) / "export", verbose=False)
        >>> served = ckptkit.load_exported(pathlib.Path(new_directory) / "export")
        >>> sorted(served.signatures), served(x=np.ones((3, 4), "float32")).shape
        (['serve', 'serving_default'], (3, 2))
    """

    def __init__(self, path: Path, loaded: Any, signatures: dict[str, Signature]) -> None:
        self.path = path
        self.version = version_number(path.name)
        self.signatures = signatures
        self._loaded = loaded

    @property
    def default(self) -> Signature:
        """The signature that a call runs: `serving_default`, `serve`, or the only one.

        Raises:
            ConfigError: If there are several other signatures, or none.
        """
        for name in DEFAULTS:
            if name in self.signatures:
                return self.signatures[name]
        if len(self.signatures) == 1:
            return next(iter(self.signatures.values()))
        known = ", ".join(map(repr, self.signatures)) or "none"
        raise ConfigError(
            f"{self.path} has no signature {DEFAULTS[0]!r}. Call one by name: "
            f"model.signatures[name](...). There is: {known}."
        )

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """Run the default signature.

        Args:
            *positional, **named: as for `Signature`.

        Returns:
            The output as a NumPy array; for several outputs, a dictionary by name.

        Raises:
            ConfigError: As for `Signature`, and if there is no default signature.
        """
        returned = self.default(*positional, **named)
        return next(iter(returned.values())) if len(returned) == 1 else returned

    def describe(self) -> str:
        """Return a text with one line for each signature: its inputs and outputs."""
        version = f", version {self.version}" if self.version is not None else ""
        return "\n".join(
            [
                f"SavedModel in {self.path}{version}",
                *(f"  {signature!r}" for signature in self.signatures.values()),
            ]
        )

    __repr__ = describe


def load_exported(
    path_or_base: str | os.PathLike[str], version: int | None = None
) -> ExportedModel:
    """Load a SavedModel for inference, without the classes of the model.

    A SavedModel is a TensorFlow program, and loading it can run parts of it. Load only what you
    trust.

    Args:
        path_or_base: the directory of one SavedModel; a directory of numbered versions, as
            `export_saved_model` publishes them, of which the newest is loaded; a run, for its
            `export/` directory; or one checkpoint of a run, for the version exported from it.
        version: the version to load from a directory of versions, instead of the newest.

    Returns:
        An object to call with arrays, by position or by name. Printed, it lists its inputs and
        outputs. `signatures` holds every function by name.

    Raises:
        CheckpointNotFoundError: If there is no SavedModel, or not this version.
        CorruptCheckpointError: If it cannot be loaded.
        ConfigError: If an argument cannot be right, or the model needs an operation from a library
            that is not imported.
        StorageError: If the system refuses to read.

    Example:
        >>> import ckptkit, keras, numpy as np, pathlib
        >>> model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
        >>> published = ckptkit.export_saved_model(model, pathlib.Path(new_directory) / "export")
        >>> served = ckptkit.load_exported(published.parent)
        >>> bool((served(np.ones((3, 4), "float32")) == model(np.ones((3, 4)))).numpy().all())
        True
        >>> served.version == int(published.name)
        True
    """
    directory = _directory_of(path_or_base, version)
    with judging_tensorflow(directory / VARIABLES, saved_model=directory):
        try:
            # Tables may read their files again later, so the name must last as long as the model.
            loaded = opened(plain_directory(directory), lambda name: tf.saved_model.load(str(name)))
        except Exception as error:
            if operation := unknown_operation(str(error)):
                raise ConfigError(
                    f"The model in {directory} needs the operation {operation!r}, which is not "
                    "part of TensorFlow. Import the library that provides it first, as in: "
                    "import tensorflow_text."
                ) from error
            raise
    found: Mapping[str, Any] = getattr(loaded, "signatures", None) or {}
    orders, recorded = list(_orders(loaded)), _recorded(directory)
    names = sorted(found, key=lambda name: (name not in DEFAULTS, name))
    signatures = {
        name: _signature(name, found[name], [*recorded.get(name, []), *orders]) for name in names
    }
    return ExportedModel(directory, loaded, signatures)


def unknown_operation(said: str) -> str:
    """Return the operation that TensorFlow's message reports as unknown, or an empty string."""
    found = _UNKNOWN_OP.search(said)
    return found[1] if found is not None else ""


def _directory_of(path_or_base: object, version: int | None) -> Path:
    if version is not None and (
        not isinstance(version, int) or isinstance(version, bool) or version < 0
    ):
        raise ConfigError(f"version is a whole number. Received: version={version!r}.")
    found = recognise(path_of(path_or_base))
    base = found.path / "export" if found.format is Format.RUN else found.path
    if found.format is Format.SAVED_MODEL:
        if version is not None:
            raise ConfigError(
                f"{base} is one SavedModel, not a base with versions. Received: "
                f"version={version}; leave it out."
            )
        return base
    if found.format not in (Format.RUN, Format.VERSIONS):
        raise ConfigError(
            f"{base} is a {found.format}, not a SavedModel. ckptkit.load_model and "
            "ckptkit.load_weights read those."
        )
    versions = versions_in(base) if base.is_dir() else {}
    if not versions:
        raise CheckpointNotFoundError(
            f"{found.path} has no exported model: {base} contains no version."
        )
    if found.step is not None:
        if version is not None:
            raise ConfigError(
                f"{path_of(path_or_base)} names one checkpoint of a run, which already selects "
                f"the version exported from it. Received: version={version}; leave it out, or "
                "name the run."
            )
        version = _of_checkpoint(found, base)
    if version is not None and version not in versions:
        raise CheckpointNotFoundError(
            f"{base} has no version {version}. There is: {', '.join(map(str, versions))}."
        )
    chosen = versions[max(versions) if version is None else version]
    if not (chosen / SAVED_MODEL).is_file():
        raise CorruptCheckpointError(
            f"{chosen} is not a SavedModel: {SAVED_MODEL} is missing. Remove that version, or "
            "name another one with version=.",
            "missing",
            SAVED_MODEL,
        )
    return chosen


def _of_checkpoint(found: FoundFormat, base: Path) -> int:
    """Return the newest version that was exported from one checkpoint.

    Raises:
        CheckpointNotFoundError: If there is none.
    """
    name = str(CheckpointName(found.step or 0, found.attempt or 0))
    sources = {
        each.number: each.record.source for each in list_versions(base) if each.record is not None
    }
    fitting = [
        number
        for number, source in sources.items()
        if source.step == found.step and source.checkpoint in ("", name)
    ]
    if fitting:
        return fitting[-1]
    known = (
        ", ".join(
            f"{number} of {source.checkpoint or f'step {source.step}'}"
            for number, source in sources.items()
        )
        or "no version that names its checkpoint"
    )
    raise CheckpointNotFoundError(
        f"No version in {base} was exported from {name}. There is: {known}. Name the run, "
        f"{found.path}, for the newest version; or export that step: "
        f"ckptkit export {found.path} OUT --step {found.step}."
    )


def _signature(name: str, function: Any, orders: list[tuple[str, ...]]) -> Signature:
    specs = function.structured_input_signature[1]
    order = next(
        (order for order in orders if set(order) == set(specs) and len(order) == len(specs)), None
    )
    inputs = tuple(_form(each, specs[each]) for each in order or sorted(specs))
    outputs = tuple(_form(each, spec) for each, spec in sorted(function.structured_outputs.items()))
    return Signature(name, function, inputs, outputs, ordered=order is not None or len(specs) == 1)


def _orders(loaded: Any) -> Iterator[tuple[str, ...]]:
    """Yield the input names of the exported functions, in the functions' order.

    A signature itself has no order of inputs.
    """
    for function in tf_functions.functions_of(loaded):
        positional, named = function.structured_input_signature
        flat = tf.nest.flatten([list(positional), named])
        if all(isinstance(spec, tf.TensorSpec) and spec.name for spec in flat):
            yield tuple(spec.name for spec in flat)


def _recorded(directory: Path) -> dict[str, list[tuple[str, ...]]]:
    """Return the input order of each signature from the export record.

    The result is empty for models that another program has exported.
    """
    try:
        signatures = read_export(directory).signatures
    except (FileNotFoundError, ExportError):
        return {}  # the model is complete without its record
    return {
        name: [tuple(each.name for each in signature.inputs)]
        for name, signature in signatures.items()
    }


def _form(name: str, spec: Any) -> ExportedTensor:
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    return ExportedTensor(name, shape, spec.dtype.name)
