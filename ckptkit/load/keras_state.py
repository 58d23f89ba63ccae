"""Reads the optimizer in a weights file of Keras, and the state in a checkpoint of Orbax."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.load.formats import Format, recognise

_WEIGHTS, _OPTIMIZER = "model.weights.h5", "optimizer/vars"


def read_optimizer(path: Path) -> list[np.ndarray]:
    """Return the variables of the optimizer in a `.keras` or `.weights.h5` file, in its order.

    Returns:
        The values; empty if the file has no optimizer.

    Raises:
        CorruptCheckpointError: If it cannot be read.
    """
    try:
        if recognise(path).format is Format.KERAS:
            with zipfile.ZipFile(path) as archive:
                opened: Any = io.BytesIO(archive.read(_WEIGHTS))
        else:
            opened = path
        with h5py.File(opened, "r") as file:
            if _OPTIMIZER not in file:
                return []
            group = file[_OPTIMIZER]
            return [np.asarray(group[name]) for name in sorted(group, key=int)]
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise CorruptCheckpointError(
            f"The optimizer in {path} cannot be read: {error}", "unreadable", path.name
        ) from error


def read_orbax(path: Path, model: Any) -> dict[int, np.ndarray]:
    """Return the values of `OrbaxCheckpoint` for a model's variables, by the variables' `id`.

    Keras finds them by the paths of variables, which begin with the names of the model and the
    optimizer. These two are automatic names, so their values here may be others.

    Args:
        path: the directory of one step.
        model: the model, whose optimizer is built.

    Raises:
        ConfigError: If Orbax is not installed.
        CorruptCheckpointError: If it cannot be read.
    """
    try:
        from orbax.checkpoint import v1 as ocp
    except ImportError as error:
        raise ConfigError(
            f"{path} was written by Orbax, which is not installed. Install it: pip install "
            "orbax-checkpoint."
        ) from error
    try:
        tree = ocp.load_checkpointables(str(path), {"pytree": None})["pytree"]
    except Exception as error:
        raise CorruptCheckpointError(
            f"Orbax cannot read {path}: {error}", "unreadable", path.name
        ) from error
    trained = tree.get("trainable_variables", {})
    saved_name = next(iter(trained), "")
    found: dict[int, np.ndarray] = {}
    for group, variables in (
        ("trainable_variables", model.trainable_variables),
        ("non_trainable_variables", model.non_trainable_variables),
        ("optimizer_variables", getattr(model.optimizer, "variables", [])),
    ):
        # Without the first part: the name of the model or the optimizer.
        values = {
            name.partition("/")[2]: value for name, value in _flat(tree.get(group, {})).items()
        }
        for variable in variables:
            name = variable.path.partition("/")[2]
            if group == "optimizer_variables" and name.startswith(f"{model.name}_"):
                name = saved_name + name[len(model.name) :]
            if name in values:
                # Orbax stores single numbers without their type.
                value = np.asarray(values[name])
                dtype = variable.value.dtype.as_numpy_dtype
                found[id(variable.value)] = value.astype(dtype) if not value.shape else value
    return found


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested dictionaries by their paths."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}/")
        else:
            found[f"{prefix}{name}"] = value
    return found
