"""Finds the directory of one training from a template such as `runs/{trial}`.

Tuners and `GridSearchCV` copy one callback for all their trainings, so the callback has to name
each training. A later process must find the same name.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ckptkit.compat import keras_fit
from ckptkit.keras.same_training_check import configured_in_code
from ckptkit.layout import TRIAL, RunLayout
from ckptkit.session.run_completion import is_finished_by_others
from ckptkit.tracking import hyperparameters
from ckptkit.tracking.layer_settings import configured_layers


def trial_directory(
    template: Path, callbacks: Sequence[Any], model: Any, call: keras_fit.FitCall
) -> Path:
    """Return the run directory for a `fit` that begins.

    The name is the id of Keras Tuner's trial, if a callback of the `fit` belongs to one. Otherwise
    it is a digest of the model's settings, the optimizer, the loss, the batch size and the data. If
    this process has finished a training of that name with another model, `-2` is added, and so on,
    as for several executions of a trial.

    Args:
        template: the path with `{trial}` in it; a path without it is returned unchanged.
        callbacks: all callbacks of the `fit`.
        model: the model that is to be trained.
        call: what the `fit` was called with.
    """
    if TRIAL not in str(template):
        return template
    name = _tuner_trial(callbacks) or _digest(model, call)
    for number in itertools.count(1):
        suffix = f"-{number}" if number > 1 else ""
        directory = Path(str(template).replace(TRIAL, f"{name}{suffix}"))
        if not is_finished_by_others(RunLayout(directory), {"model": model}):
            return directory
    raise AssertionError("unreachable")


def _tuner_trial(callbacks: Sequence[Any]) -> str | None:
    """Return the id of Keras Tuner's trial, which the tuner's own callback contains."""
    for callback in callbacks:
        trial = getattr(getattr(callback, "trial", None), "trial_id", None)
        if isinstance(trial, str) and trial:
            return trial
    return None


def _digest(model: Any, call: keras_fit.FitCall) -> str:
    digest = xxhash.xxh3_64()
    settings = [
        [[layer.path, layer.class_name, layer.settings] for layer in configured_layers(model)],
        hyperparameters.configuration(model.optimizer) if model.optimizer is not None else None,
        configured_in_code(model, call.batch_size),
    ]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    arrays = keras_fit.arrays_in_memory(call)
    if arrays is None:
        # To read from a pipeline would change its state.
        digest.update(repr(call.element_spec).encode())
    for array in arrays or ():
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.view(np.uint8).data if values.size else b"")
    return digest.hexdigest()
