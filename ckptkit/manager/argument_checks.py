"""Checks the arguments of `CheckpointManager`'s methods, and from where they are called."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from ckptkit.errors import ConfigError
from ckptkit.layout import TRIAL
from ckptkit.mirror.mirror_settings import Mirror
from ckptkit.position import whole_number
from ckptkit.session.session import Session
from ckptkit.tracking.checkpoint_objects import check_same_objects, objects_of


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


def state_argument(directory: object, state: Any) -> Mapping[str, Any]:
    """Return the argument `state` as a dictionary.

    Args:
        directory: the other argument, to notice exchanged arguments.
        state: a dictionary, or a `tf.train.Checkpoint`.

    Raises:
        ConfigError: If the arguments stand in the order of `tf.train.CheckpointManager`.
    """
    if isinstance(directory, tf.train.Checkpoint):
        raise ConfigError(
            "The run directory comes first: ckptkit.CheckpointManager(directory, checkpoint). With "
            "the arguments of tf.train.CheckpointManager, write "
            f"ckptkit.TensorFlowManager(checkpoint, {state!r}, max_to_keep=3)."
        )
    return objects_of(state) if isinstance(state, tf.train.Checkpoint) else state


def objects_check(state: Any, objects: Mapping[str, Any]) -> Callable[[], None] | None:
    """Return the check that a `tf.train.Checkpoint` keeps its objects; None for a dictionary.

    Args:
        state: the argument `state`.
        objects: the objects by name that `state_argument` has found in it.
    """
    if not isinstance(state, tf.train.Checkpoint):
        return None
    return functools.partial(check_same_objects, state, objects)


def number_to_save(step: Any, checkpoint_number: Any, session: Session) -> int:
    """Return the step of a save: the given one, or the next after the position of the run.

    Args:
        step, checkpoint_number: the arguments of `save`, which mean the same.
        session: the open run.

    Raises:
        ConfigError: If both are given, or neither inside of a loop over `steps` or `epochs`.
    """
    if step is not None and checkpoint_number is not None:
        raise ConfigError(
            "step and checkpoint_number are the same number: pass one of them. Received: "
            f"step={step!r}, checkpoint_number={checkpoint_number!r}."
        )
    given = checkpoint_number if step is None else step
    if given is not None:
        return check_step(given)
    if not session.phases.is_between_loops:
        raise ConfigError(
            "Inside of a loop over manager.steps, manager.epochs or manager.data, save needs the "
            "number of the step: manager.save(step). Received: no number."
        )
    return session.position.step + 1


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
