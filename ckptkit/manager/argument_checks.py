"""Checks the arguments of `CheckpointManager`'s methods, and from where they are called."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from ckptkit.errors import ConfigError
from ckptkit.layout import TRIAL
from ckptkit.mirror.mirror_settings import Mirror
from ckptkit.position import whole_number


def check_not_in_function(method: str) -> None:
    """Check that a method of the manager is not called inside a `tf.function`.

    Raises:
        ConfigError: If it is called inside a `tf.function`.
    """
    if tf.inside_function():
        raise ConfigError(
            f"manager.{method} was called inside a tf.function. It would run only once, while "
            f"TensorFlow traces the function. Call it between two steps, outside of the "
            f"tf.function."
        )


def check_no_template(directory: object) -> None:
    """Check that a directory has no placeholder for the name of a training.

    Raises:
        ConfigError: If it has.
    """
    if isinstance(directory, str | os.PathLike) and TRIAL in os.fsdecode(directory):
        raise ConfigError(
            f"{TRIAL} in a directory is for CheckpointCallback, which tuners copy. Expected a path "
            "of its own for each training, such as f'runs/{name}'. "
            f"Received: {os.fsdecode(directory)!r}."
        )


def check_step(step: object) -> int:
    """Check a step that the user passed, and return it as a whole number.

    Raises:
        ConfigError: If it is not a whole number of at least 0.
    """
    number = whole_number(step)
    if number is None or number < 0:
        raise ConfigError(
            f"step is the number of training batches since the run began: a whole number of 0 or "
            f"more. Received: step={step!r}."
        )
    return number


def check_total(name: str, total: object) -> int:
    """Check the total that the user passed to a loop, and return it as a whole number.

    Args:
        name: the name of the loop.
        total: the argument.

    Raises:
        ConfigError: If it is not a whole number of at least 0.
    """
    number = whole_number(total)
    if number is None or number < 0:
        raise ConfigError(
            f"manager.{name}(total): total is the number of all {name} since the run began, a "
            f"whole number of 0 or more. Received: {total!r}."
        )
    return number


def check_durable(durable: Any, mirror: Mirror | None) -> None:
    """Check the level of durability that a call asks for.

    Raises:
        ConfigError: If it is unknown, or the run has no mirror.
    """
    if durable not in ("local", "remote"):
        raise ConfigError(
            "durable says how safe a checkpoint has to be. Expected 'local' (in the run directory) "
            f"or 'remote' (on the object store, too). Received: durable={durable!r}."
        )
    if durable == "remote" and mirror is None:
        raise ConfigError(
            "durable='remote' waits for an object store, and this run has no mirror. Give one: "
            "CheckpointManager(directory, state, mirror='s3://bucket/runs/x')."
        )
