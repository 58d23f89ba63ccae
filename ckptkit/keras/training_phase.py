"""A run is one training of one model: what may go on with it, and what is something else."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout
from ckptkit.run.catalog import Checkpoint

_finished: dict[str, weakref.ref[Any]] = {}


def note_finished(layout: RunLayout, model: Any) -> None:
    """This process has trained `model` to the end of the run."""
    _finished[str(layout.root.resolve())] = weakref.ref(model)


def finished_by(layout: RunLayout, model: Any) -> None:
    """Checks that the run was not finished by another model of this process.

    Raises:
        ConfigError: where it was: a fold loop, a tuner's copy of the callback, a cell that is run
            again.
    """
    reference = _finished.get(str(layout.root.resolve()))
    if reference is not None and reference() is not model:
        raise ConfigError(
            f"This process has already finished the run in {layout.root} with another model "
            "object, and a run is one training of one "
            f"model. Give each training its own directory, such as f'{layout.root}-{{fold}}'; or "
            "pass fresh='a label' to set the "
            f"finished run aside."
        )


def check_one_device(model: Any) -> None:
    """Checks that the model's variables are on one device each.

    Raises:
        ConfigError: under a strategy that mirrors or spreads them.
    """
    strategy = model.distribute_strategy
    if isinstance(strategy, tf.distribute.OneDeviceStrategy):
        return
    with strategy.scope():
        distributed = (
            tf.distribute.has_strategy()
        )  # which it is not inside of TensorFlow's default one
    if distributed:
        raise ConfigError(
            f"The model was made under {type(strategy).__name__}, and training on several devices "
            "is not supported yet. Make and "
            f"train the model without a strategy, or under tf.distribute.OneDeviceStrategy."
        )


def check_same_phase(checkpoint: Checkpoint, state: Mapping[str, Any], model: Any) -> None:
    """Checks that the model trains the same weights, with the same class of optimizer.

    Args:
        checkpoint: where the run would go on.
        state: of the program, with the model in it.
        model: that is to be trained.

    Raises:
        ConfigError: where it does not: that is a second training phase, and a run of its own.
    """
    manifest = checkpoint.manifest
    name = next(name for name, value in state.items() if value is model)
    then_optimizer = next(
        (entry.classes.get("optimizer") for entry in manifest.states if entry.name == name), None
    )
    now_optimizer = (
        type(model.optimizer).__name__ if getattr(model, "optimizer", None) is not None else None
    )
    advice = (
        "A second training phase is a run of its own: name another directory for it, and begin "
        "it with the weights of this one "
        f"({checkpoint.path.parent.parent})."
    )
    if then_optimizer and now_optimizer and then_optimizer != now_optimizer:
        raise ConfigError(
            f"The run was trained with the optimizer {then_optimizer}; the model now has "
            f"{now_optimizer}. Nothing was overwritten. "
            f"{advice}"
        )
    weights = [
        entry
        for entry in manifest.tensors
        if entry.role == "weights" and entry.key.split("/")[0] == name
    ]
    live = list(model.weights)
    if len(weights) == len(live):
        changed = [
            entry.path
            for entry, variable in zip(weights, live, strict=True)
            if entry.trainable is not None and entry.trainable != bool(variable.trainable)
        ]
        if changed:
            raise ConfigError(
                "Other weights are trained than in the run's checkpoint: trainable has changed "
                f"for {len(changed)} of {len(live)}, "
                f"{', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}. Nothing was "
                f"overwritten. {advice}"
            )
