"""`load_model`: rebuilds a Keras model from a run or a file, so that training can continue."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from ckptkit.compat.keras_construction import name_layers, plain_constructors
from ckptkit.errors import (
    ConfigError,
    CorruptCheckpointError,
)
from ckptkit.layout import RunLayout
from ckptkit.load import hdf5
from ckptkit.load.compile_config import compile_as, give_optimizer
from ckptkit.load.formats import Format, FoundFormat, recognise
from ckptkit.load.leased_checkpoint import read_run
from ckptkit.load.memory_guard import bounded
from ckptkit.load.model_building import building, refuse_code
from ckptkit.load.model_from_run import model_from_run
from ckptkit.load.source_arguments import check_arguments
from ckptkit.log import logger
from ckptkit.tracking.adapted_layers import adapted_leaves
from ckptkit.tracking.model_architecture import unsaved_loss_arguments
from ckptkit.tracking.reachable_objects import visit

CONFIG, TRAINING_CONFIG = "model_config", "training_config"
"""Attributes of an `.h5` file: the model's configuration, and the arguments of `compile`."""

OPTIMIZER = "optimizer_weights"
"""The group of the optimizer's state in an `.h5` file."""

MEMBER = "config.json"
"""The member of a .keras file that holds the model's configuration."""


_MOST_BYTES = 64 * 1024 * 1024


def load_model(
    source: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    *,
    step: int | str | None = None,
    name: str | None = None,
) -> Any:
    """Rebuild a Keras model with its weights, optimizer state and `compile` arguments.

    No code in a file is run. A model that contains code (a Lambda layer) is an error.

    Args:
        source: a run directory, or one checkpoint in it; a `.keras` file; a whole model in an `.h5`
            file.
        custom_objects: your own classes and functions that the model uses, by name, as for
            `keras.saving.load_model`. A layer's constructor need not take `name`, `dtype` and
            `trainable`; they are set afterwards. Those registered with
            `keras.saving.register_keras_serializable` are found without it.
        step: the checkpoint of a run: a step, `"latest"` or `"best"`. The default is the newest
            good checkpoint.
        name: the model to build, if the run holds several: its name in `state={...}`.

    Returns:
        The model. From a run it also has the random states of its layers, and after the end of
            training the final weights. With `"best"` its weights are those that the checkpoint's
            metric was measured with (averages, if `fit` evaluated those).

    Raises:
        ConfigError: If the format has no architecture, a class is missing, or the model contains
            code. The message says what is missing and what to do.
        CheckpointNotFoundError: If the source, the checkpoint or the model in it does not exist.
        CorruptCheckpointError: If it cannot be read, or declares more values than are stored.
        IncompatibleStateError: If the rebuilt model's state does not match the checkpoint, with a
            table of the differences.
        StorageError: If the system refuses to read.

    Example:
        >>> import ckptkit, keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = np.ones((8, 4)), np.ones((8, 1))
        >>> callback = ckptkit.CheckpointCallback("runs/new", export=False)
        >>> history = model.fit(x, y, verbose=0, callbacks=[callback])
        >>> again = ckptkit.load_model("runs/new")
        >>> int(again.optimizer.iterations)
        1
        >>> again.predict(x, verbose=0).tolist() == model.predict(x, verbose=0).tolist()
        True
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
            found,
            step,
            lambda checkpoint: model_from_run(
                layout, checkpoint, custom_objects, name, best=step == "best"
            ),
        )
    if found.format is Format.KERAS:
        return _from_keras(found.path, custom_objects)
    if found.format is Format.HDF5:
        return _from_h5(found.path, custom_objects)
    raise ConfigError(_no_architecture(found))


def _no_architecture(found: FoundFormat) -> str:
    if found.format is Format.CHECKPOINT:
        return (
            f"{found.path} is a TensorFlow checkpoint: it contains values, but no architecture. "
            f"Build the model with its code, and call "
            f"ckptkit.load_weights(model, {str(found.path)!r})."
        )
    return (
        f"{found.path} is a {found.format}: it holds functions, but no layers to train. "
        "ckptkit.load_exported calls them; or build the model with its code, and call "
        f"ckptkit.load_weights(model, {str(found.path)!r})."
    )


def model_in_file(found: FoundFormat, custom_objects: Mapping[str, Any] | None) -> Any:
    """Return the whole model in a file of Keras, without the arguments of `compile`.

    Args:
        found: a `.keras` or an HDF5 file.
        custom_objects: as for `load_model`.

    Raises:
        ConfigError, CorruptCheckpointError, StorageError: as `load_model`.
    """
    return (_from_keras if found.format is Format.KERAS else _from_h5)(
        found.path, custom_objects, compiled=False
    )


def _from_keras(
    path: Path, custom_objects: Mapping[str, Any] | None, *, compiled: bool = True
) -> Any:
    with hdf5.archive(path) as zipped:
        text = zipped.read(hdf5.member(zipped, path, MEMBER, _MOST_BYTES))
        for info in zipped.infolist():
            hdf5.member(zipped, path, info.filename)
    config = _parsed(path, text)
    refuse_code(path, config)
    with hdf5.opened(path) as file:
        sizes = [dataset.nbytes for dataset in hdf5.walk(file)]
    return _by_keras(path, ".keras", custom_objects, sizes, config, compiled=compiled)


def _from_h5(path: Path, custom_objects: Mapping[str, Any] | None, *, compiled: bool = True) -> Any:
    with hdf5.opened(path) as file:
        text = hdf5.text(file, CONFIG)
        if text is None:
            raise ConfigError(
                f"{path} contains weights, but no architecture. Build the model with its code, and "
                f"call ckptkit.load_weights(model, {str(path)!r})."
            )
        config = _parsed(path, text)
        refuse_code(path, config)
        training = _parsed(path, hdf5.text(file, TRAINING_CONFIG) or "null")
        refuse_code(path, training)
        sizes = [dataset.nbytes for dataset in hdf5.walk(file)]
        model = _by_keras(path, ".h5", custom_objects, sizes, config, compiled=False)
        if compiled and isinstance(training, Mapping):
            with (
                building(path),
                bounded(path, sizes),
                keras.saving.custom_object_scope(dict(custom_objects or {})),
            ):
                compile_as(path, model, training, hdf5.text(file, "keras_version") or "")
                give_optimizer(path, model, hdf5.group_at(file, OPTIMIZER))
    if compiled:
        _warn_of_lost_vocabularies(path, model)
    return model


def _warn_of_lost_vocabularies(path: Path, model: Any) -> None:
    """Warn of layers that have learnt something that Keras does not write into `.h5` files."""
    for leaf in adapted_leaves("model", visit(model), {}):
        if leaf.is_empty and not isinstance(leaf.layer, keras.layers.Hashing):
            logger.warning(
                "%s does not hold what the layer %r (%s) had learnt, because Keras does not write "
                "it into .h5 files. Call its adapt() before the model is used",
                path,
                leaf.path,
                type(leaf.layer).__name__,
            )


def _parsed(path: Path, text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"The configuration of the model in {path} cannot be read: {error}."
        ) from error


def _by_keras(
    path: Path,
    suffix: str,
    custom_objects: Mapping[str, Any] | None,
    sizes: list[int],
    config: Any,
    *,
    compiled: bool = True,
) -> Any:
    with (
        building(path),
        bounded(path, sizes),
        plain_constructors(custom_objects) as classes,
        _called(path, suffix) as named,
    ):
        model = keras.saving.load_model(
            named, custom_objects=classes, compile=compiled, safe_mode=True
        )
    name_layers(model, config)
    for loss in keras.tree.flatten(getattr(model, "loss", None)):
        for argument, value in unsaved_loss_arguments(loss).items():
            logger.warning(
                "%s does not store the %s of the loss %s, because Keras does not write it. It is "
                "now %r; call model.compile again if it was different",
                path,
                argument,
                type(loss).__name__,
                value,
            )
    return model


@contextmanager
def _called(path: Path, suffix: str) -> Iterator[str]:
    """Yield a name of the file with the extension that Keras requires."""
    if path.name.endswith(suffix):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as directory:
        link = Path(directory) / f"model{suffix}"
        link.symlink_to(path.resolve())
        yield str(link)
