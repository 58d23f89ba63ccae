"""`load_exported`: a SavedModel as a callable object that describes its inputs and outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from ckptkit.bundle.bundle_check import check_bundle
from ckptkit.bundle.tensor_bundle import judging_tensorflow
from ckptkit.compat import tf_functions
from ckptkit.errors import CheckpointNotFoundError, ConfigError, CorruptCheckpointError, ExportError
from ckptkit.exports.export_record import read_export
from ckptkit.exports.version_directories import list_versions, version_number, versions_in
from ckptkit.layout import CheckpointName
from ckptkit.load.checkpoint_weights import VARIABLES
from ckptkit.load.exported_signature import ExportedTensor, Signature
from ckptkit.load.formats import SAVED_MODEL, Format, FoundFormat, path_of, recognise
from ckptkit.position import whole_number
from ckptkit.storage.plain_paths import opened, plain_directory

DEFAULTS = ("serving_default", "serve")
"""The names of signatures that a call of the model tries, in this order."""

_UNKNOWN_OP = re.compile(r"Op type not registered '(\w+)'")


class ExportedModel:
    """An exported model: a call runs its default signature, `signatures` has all of them.

    Args:
        path: the directory it was loaded from.
        loaded: TensorFlow's object, which keeps the variables alive.
        signatures: the signatures by name.

    Example:
        >>> import ckptkit, keras, numpy as np, pathlib
        >>> model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
        >>> model.export(pathlib.Path("runs/new") / "export", verbose=False)
        >>> served = ckptkit.load_exported(pathlib.Path("runs/new") / "export")
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
            ConfigError: If there are several other signatures, or no signature.
        """
        for name in DEFAULTS:
            if name in self.signatures:
                return self.signatures[name]
        if len(self.signatures) == 1:
            return next(iter(self.signatures.values()))
        known = ", ".join(map(repr, self.signatures)) or "none"
        raise ConfigError(
            f"{self.path} has no signature {DEFAULTS[0]!r}. Call one by name: "
            f"model.signatures[name](...). Expected one of: {known}."
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

    A SavedModel is a TensorFlow program, and loading it can run parts of it. Load only models that
    you trust.

    Args:
        path_or_base: the directory of a SavedModel; a directory of numbered versions, as
            `export_saved_model` writes it (the newest is loaded); a run, for its `export/`
            directory; or one checkpoint of a run, for the version that was exported from it.
        version: the version to load from a directory of versions, instead of the newest.

    Returns:
        An object to call with arrays, by position or by name. Printed, it lists its inputs and
            outputs. `signatures` has every function by name.

    Raises:
        CheckpointNotFoundError: If there is no SavedModel, or no such version.
        CorruptCheckpointError: If it cannot be loaded.
        ConfigError: If an argument is invalid, or the model needs an operation from a library that
            is not imported.
        StorageError: If the system refuses to read.

    Example:
        >>> import ckptkit, keras, numpy as np, pathlib
        >>> model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
        >>> published = ckptkit.export_saved_model(model, pathlib.Path("runs/new") / "export")
        >>> served = ckptkit.load_exported(published.parent)
        >>> bool((served(np.ones((3, 4), "float32")) == model(np.ones((3, 4)))).numpy().all())
        True
        >>> served.version == int(published.name)
        True
    """
    directory = _directory_of(path_or_base, version)
    with judging_tensorflow(directory / VARIABLES, saved_model=directory):
        check_bundle(directory / VARIABLES, None)
        try:
            # Tables may read their files again later, so the path must be valid as long as the
            # model exists.
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
    if version is not None:
        number = whole_number(version)
        if number is None or number < 0:
            raise ConfigError(f"version is a whole number. Received: version={version!r}.")
        version = number
    found = recognise(path_of(path_or_base))
    base = found.path / "export" if found.format is Format.RUN else found.path
    if found.format is Format.SAVED_MODEL:
        if version is not None:
            raise ConfigError(
                f"{base} is a single SavedModel, so version={version} does not apply. Leave "
                "version out, or name the directory that contains the versions."
            )
        return base
    if found.format not in (Format.RUN, Format.VERSIONS):
        raise ConfigError(
            f"{base} is not a SavedModel (found: {found.format}). Load it with "
            "ckptkit.load_model or ckptkit.load_weights."
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
            f"{base} has no version {version}. Expected one of: {', '.join(map(str, versions))}."
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
        CheckpointNotFoundError: If no version was exported from it.
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
        f"No version in {base} was exported from {name}. Expected one of: {known}. Name the run, "
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

    A signature itself does not store an order.
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
