"""load_model: a Keras model that is built again from what lies on disk, so that training can go on
with it.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from ckptkit.compat import keras_saving
from ckptkit.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    ConfigError,
    CorruptCheckpointError,
    IncompatibleStateError,
)
from ckptkit.layout import RunLayout
from ckptkit.load import hdf5
from ckptkit.load.compile_config import compile_as, give_optimizer
from ckptkit.load.formats import Format, FoundFormat, recognise
from ckptkit.load.leased_checkpoint import read_run
from ckptkit.load.memory_guard import bounded
from ckptkit.load.weight_loading import check_arguments
from ckptkit.log import logger
from ckptkit.restore.assign import assign_state
from ckptkit.restore.state_comparison import compare, table
from ckptkit.run.architecture_file import load as load_architecture
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.manifest import StateEntry
from ckptkit.tracking.model_architecture import code_in_configuration, unsaved_loss_arguments
from ckptkit.tracking.snapshot import describe_leaves
from ckptkit.tracking.state_check import ensure_built
from ckptkit.tracking.tracker import track

CONFIG, TRAINING_CONFIG = "model_config", "training_config"
"""Attributes of an `.h5` file: what the model is made of, and the arguments of `compile`."""

OPTIMIZER = "optimizer_weights"
"""The group of the optimizer's state in an `.h5` file."""

MEMBER = "config.json"
"""The same in a .keras file."""

_UNKNOWN = re.compile(r"(?:Could not (?:locate|deserialize)|Unknown) ([a-z ]+?):? '([\w>.<]+)'")
"""What Keras says where a class is missing, somewhere in a text that holds the whole configuration.
"""

_MOST_BYTES = 64 * 1024 * 1024

_MEASURED = "metrics"
"""The role of metrics' variables: a compiled model makes them in its first batch, and each epoch
begins them anew.
"""


def load_model(
    source: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    *,
    step: int | str | None = None,
    name: str | None = None,
) -> Any:
    """Builds a Keras model again, with its weights, its optimizer's state and the arguments of
    `compile`, so that training can go on.

    Nothing in a file is run: where a model holds code (a Lambda layer), that is an error.

    Args:
        source: a run directory, or one checkpoint in it; a `.keras` file; a whole model in an `.h5`
            file.
        custom_objects: classes and functions of your own that the model is made of, by name, as for
            `keras.saving.load_model`; those that are registered with
            `keras.saving.register_keras_serializable` need not be here.
        step: of a run: a step, `"latest"` or `"best"`. By default its newest good checkpoint.
        name: of a run with several models: which, by its name in `state={...}`.

    Returns:
        The model. From a run it has the random states of its layers, too; at the end of training
        its weights are those that training ended with.

    Raises:
        ConfigError: where the format holds no architecture, a class is missing, or the model holds
            code; it says what is missing and what to do.
        CheckpointNotFoundError: where nothing is there, or not what was asked for.
        CorruptCheckpointError: where it cannot be read, or claims a size that was not saved.
        IncompatibleStateError: where the model that was built has another state than the
            checkpoint, with a table of it.
        StorageError: where the system refuses to read.

    Example:
        >>> import ckptkit, keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = np.ones((8, 4)), np.ones((8, 1))
        >>> history = model.fit(x, y, verbose=0, callbacks=[ckptkit.CheckpointCallback(new_directory, export=False)])
        >>> again = ckptkit.load_model(new_directory)
        >>> int(again.optimizer.iterations), again.predict(x, verbose=0).tolist() == model.predict(x, verbose=0).tolist()
        (1, True)
    """
    if custom_objects is not None and not isinstance(custom_objects, Mapping):
        raise ConfigError(
            f"custom_objects names classes and functions, as in {{'MyLayer': MyLayer}}. Received: "
            f"{custom_objects!r}."
        )
    found = recognise(source)
    check_arguments(found, step, name)
    if found.format is Format.RUN:
        layout = RunLayout(found.path)
        return read_run(
            found, step, lambda checkpoint: _from_run(layout, checkpoint, custom_objects, name)
        )
    if found.format is Format.KERAS:
        return _from_keras(found.path, custom_objects)
    if found.format is Format.HDF5:
        return _from_h5(found.path, custom_objects)
    raise ConfigError(_no_architecture(found))


def _no_architecture(found: FoundFormat) -> str:
    if found.format is Format.CHECKPOINT:
        return (
            f"{found.path} is a TensorFlow checkpoint: it holds values, and nothing of what the "
            "model is made of. Build the model with its code, "
            f"and call ckptkit.load_weights(model, {str(found.path)!r})."
        )
    return (
        f"{found.path} is a {found.format}: it holds functions to call, and no layers that could "
        "be trained. ckptkit.load_exported calls them; "
        "or build the model with its code, and call ckptkit.load_weights(model, "
        f"{str(found.path)!r})."
    )


# -- from a run


def _from_run(
    layout: RunLayout,
    checkpoint: Checkpoint,
    custom_objects: Mapping[str, Any] | None,
    name: str | None,
) -> Any:
    entry = _entry(checkpoint, name)
    weights = f"Build the model with its code, and call ckptkit.load_weights(model, {str(layout.root)!r})."
    if not isinstance(entry.architecture, str):
        raise ConfigError(
            f"{checkpoint.path} does not say what its model {entry.name!r} ({entry.class_name}) "
            "is made of: it was saved by an earlier "
            f"version of ckptkit, or that could not be stored. {weights}"
        )
    architecture = load_architecture(layout, entry.architecture)
    if architecture.config is None:
        raise ConfigError(
            f"The model {entry.name!r} ({entry.class_name}) of {layout.root} cannot be built from "
            f"data alone: {architecture.reason}. "
            f"{weights}"
        )
    saved = [
        tensor
        for tensor in checkpoint.manifest.tensors
        if tensor.key.partition("/")[0] == entry.name and tensor.role != _MEASURED
    ]
    path = layout.architecture / entry.architecture
    with _building(path), bounded(path, (tensor.size_bytes for tensor in saved)):
        _refuse_code(path, architecture.config)
        model = keras_saving.deserialized_model(architecture.config, custom_objects)
        ensure_built({entry.name: model})
    tracked = track({entry.name: model})
    live = [tensor for tensor in describe_leaves(tracked) if tensor.role != _MEASURED]
    differences = compare([entry], saved, tracked.states, live)
    if differences:
        raise IncompatibleStateError(
            f"The model that was built from {path} has another state than "
            f"{checkpoint.path}.\n{table(differences)}\n"
            "Where a class of custom_objects has changed since then, put it back; or build the "
            "model with its code."
        )
    assign_state(checkpoint, tracked, saved)
    logger.info(
        "built %s from %s, %s",
        architecture.class_name,
        checkpoint.path,
        checkpoint.manifest.position,
    )
    return model


def _entry(checkpoint: Checkpoint, name: str | None) -> StateEntry:
    """The state's entry that is the model.

    Raises:
        ConfigError: where several are models, and none was named.
        CheckpointNotFoundError: where none is.
    """
    tensors = checkpoint.manifest.tensors
    models = {
        state.name: state
        for state in checkpoint.manifest.states
        if state.architecture
        or any(tensor.key.startswith(f"{state.name}/weights/") for tensor in tensors)
    }
    known = ", ".join(map(repr, models)) or "none"
    if name is not None and name not in models:
        raise CheckpointNotFoundError(
            f"{checkpoint.path} holds no model {name!r}. There is: {known}."
        )
    if name is None and len(models) != 1:
        if not models:
            raise CheckpointNotFoundError(
                f"{checkpoint.path} holds no Keras model. Expected one among state={{...}}."
            )
        raise ConfigError(
            f"{checkpoint.path} holds several models ({known}). Say which is meant: "
            f"name={next(iter(models))!r}."
        )
    return models[name] if name is not None else next(iter(models.values()))


# -- from Keras' files


def _from_keras(path: Path, custom_objects: Mapping[str, Any] | None) -> Any:
    with hdf5.archive(path) as zipped:
        text = zipped.read(hdf5.member(zipped, path, MEMBER, _MOST_BYTES))
        for info in zipped.infolist():
            hdf5.member(zipped, path, info.filename)
    _refuse_code(path, _parsed(path, text))
    with hdf5.opened(path) as file:
        sizes = [dataset.nbytes for dataset in hdf5.walk(file)]
    return _by_keras(path, ".keras", custom_objects, sizes)


def _from_h5(path: Path, custom_objects: Mapping[str, Any] | None) -> Any:
    with hdf5.opened(path) as file:
        text = hdf5.text(file, CONFIG)
        if text is None:
            raise ConfigError(
                f"{path} holds weights, and nothing of what the model is made of. Build the model "
                "with its code, and call "
                f"ckptkit.load_weights(model, {str(path)!r})."
            )
        _refuse_code(path, _parsed(path, text))
        training = _parsed(path, hdf5.text(file, TRAINING_CONFIG) or "null")
        _refuse_code(path, training)
        sizes = [dataset.nbytes for dataset in hdf5.walk(file)]
        model = _by_keras(path, ".h5", custom_objects, sizes, compiled=False)
        if isinstance(training, Mapping):
            with (
                _building(path),
                bounded(path, sizes),
                keras.saving.custom_object_scope(dict(custom_objects or {})),
            ):
                compile_as(path, model, training, hdf5.text(file, "keras_version") or "")
                give_optimizer(path, model, hdf5.group_at(file, OPTIMIZER))
    return model


def _parsed(path: Path, text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"What the model in {path} is made of cannot be read: {error}."
        ) from error


def _refuse_code(path: Path, config: Any) -> None:
    reason = code_in_configuration(config)
    if reason:
        raise ConfigError(
            f"The model in {path} is not built: {reason}. Where you trust its origin, "
            "keras.saving.load_model(..., safe_mode=False) "
            f"runs it; or build the model with its code, and call ckptkit.load_weights(model, ...)."
        )


def _by_keras(
    path: Path,
    suffix: str,
    custom_objects: Mapping[str, Any] | None,
    sizes: list[int],
    *,
    compiled: bool = True,
) -> Any:
    with _building(path), bounded(path, sizes), _called(path, suffix) as named:
        model = keras.saving.load_model(
            named, custom_objects=dict(custom_objects or {}), compile=compiled, safe_mode=True
        )
    for loss in keras.tree.flatten(getattr(model, "loss", None)):
        for argument, value in unsaved_loss_arguments(loss).items():
            logger.warning(
                "%s does not say which %s the loss %s had, because Keras does not write it: it is "
                "%r now. Call model.compile again where "
                "it was another",
                path,
                argument,
                type(loss).__name__,
                value,
            )
    return model


@contextmanager
def _called(path: Path, suffix: str) -> Iterator[str]:
    """The file under a name that ends as Keras wants it to."""
    if path.name.endswith(suffix):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as directory:
        link = Path(directory) / f"model{suffix}"
        link.symlink_to(path.resolve())
        yield str(link)


@contextmanager
def _building(path: Path) -> Iterator[None]:
    """Turns what Keras raises over a model that it cannot build into one kind of error for each
    cause.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (TypeError, ImportError, AttributeError) as error:
        _say_missing(path, error)
        raise ConfigError(
            f"The model in {path} cannot be built: {_said(error)} A class or function of your own "
            "goes into "
            f"custom_objects={{'Name': Name}}, and its get_config has to give all arguments."
        ) from error
    except (
        ValueError,
        KeyError,
        IndexError,
        RuntimeError,
        NotImplementedError,
        ArithmeticError,
        AssertionError,
        RecursionError,
    ) as error:
        _say_missing(path, error)
        raise CorruptCheckpointError(f"Keras cannot load {path}: {_said(error)}") from error
    except OSError as error:
        raise CorruptCheckpointError(f"Keras cannot load {path}: {_said(error)}") from error


def _say_missing(path: Path, error: BaseException) -> None:
    """Says which class is missing, where it is that.

    Raises:
        ConfigError: then.
    """
    missing = _UNKNOWN.search(str(error))
    if missing is not None:
        raise ConfigError(
            f"The model in {path} needs the {missing[1]} {missing[2]!r}, which is not known here: "
            "pass custom_objects="
            f"{{{missing[2]!r}: {missing[2]}}}, or register it with "
            "keras.saving.register_keras_serializable."
        ) from error


def _said(error: BaseException) -> str:
    """The cause in Keras' message, which has the whole configuration before and behind it."""
    text = str(error)
    for mark in ("Error encountered during deserialization:", "Exception encountered:"):
        text = text.rpartition(mark)[2]
    text = (
        " ".join(text.partition("Full object config")[0].partition("config={")[0].split())
        or type(error).__name__
    )
    return text if len(text) <= 400 else f"{text[:400]}..."
