"""Checks that the state belongs to a strategy of `tf.distribute` that is supported.

It reads no variable. To read one that several workers share is a collective operation: it waits for
the other workers, or joins one of their operations and destroys its result.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.compat.tf_coordination import CoordinationService
from ckptkit.errors import ConfigError
from ckptkit.tracking.leaves import Leaf, VariableLeaf, path_of
from ckptkit.tracking.reachable_objects import visit

_NEEDED = {
    "MultiWorkerMirroredStrategy": "with a single worker it was not tried, and MirroredStrategy "
    "does the same",
    "ParameterServerStrategy": "its variables are in other processes, whose steps have no common "
    "moment at which a save could read them",
    "TPUStrategy": "its variables are in the memory of TPUs, and its steps run there several at a "
    "time",
    "CentralStorageStrategy": "its variables have an update of their own on one device, which "
    "TensorFlow itself calls experimental",
}
"""What it would take to support a strategy, by its name."""

_DTENSOR = (
    "is laid out over devices by DTensor, which is not supported: a save would have to write each "
    "part with its layout, and a resume to lay it out again. Make it without a layout."
)


_FIT = (
    "model.fit under MultiWorkerMirroredStrategy is not supported: Keras 3 ends before the first "
    'step, with "Attempt to convert a value (PerReplica" (keras issue 20329) or with "Invalid '
    'reduction dimension" (tensorflow issue 72388). Train in a loop of your own with '
    "ckptkit.CheckpointManager, which supports it: docs/workers.md has an example."
)


def job_strategy(state: Mapping[str, Any]) -> Any:
    """Return the strategy of several workers to which a state belongs, or None.

    Args:
        state: what the run saves, by name.
    """
    # A process that trains alone is spared a walk over its state. Such a strategy starts the
    # service when it is made.
    if not CoordinationService.is_running() and "TF_CONFIG" not in os.environ:
        return None
    seen: dict[int, Any] = {}
    found = [tf.distribute.get_strategy()]
    for value in state.values():
        for _, each in visit(value, seen):
            if isinstance(each, keras.Model):
                found.append(each.distribute_strategy)
            elif (variable := _variable_of(each)) is not None:
                found.append(getattr(variable, "distribute_strategy", None))
    return next((each for each in found if _workers_of(each) > 1), None)


def check_fit_alone(state: Mapping[str, Any]) -> None:
    """Check that what `fit` trains does not belong to several workers.

    Args:
        state: what the run saves, by name.

    Raises:
        ConfigError: If it does.
    """
    if job_strategy(state) is not None:
        raise ConfigError(_FIT)


def check_alone(state: Mapping[str, Any]) -> None:
    """Check that a process that restores a checkpoint of its choice trains alone.

    Raises:
        ConfigError: If it is one of several workers.
    """
    if job_strategy(state) is not None:
        raise ConfigError(
            "manager.restore() is not supported for several workers: `with manager:` and "
            "manager.restore_or_initialize() restore the newest checkpoint on all of them. To "
            "continue from an earlier one, run `ckptkit rollback` before."
        )


def check_strategies(state: Mapping[str, Any]) -> None:
    """Check that every part of a state, and the calling code, has a strategy that is supported.

    Args:
        state: what the run saves, by name. It need not be built.

    Raises:
        ConfigError: If the code runs in the scope of a strategy that is not supported, or a model
            or variable was made under one.
    """
    if not _is_supported(strategy := tf.distribute.get_strategy()):
        raise _refusal("The program runs", strategy)
    # A model leads to its optimizer, which usually has an entry of its own: visit it once.
    seen: dict[int, Any] = {}
    for name, value in state.items():
        for _, found in visit(value, seen):
            # A model that is not built has no variables yet, and knows its strategy.
            if isinstance(found, keras.Model):
                if not _is_supported(strategy := found.distribute_strategy):
                    raise _refusal(f"The model in state[{name!r}] was made", strategy)
            elif (variable := _variable_of(found)) is not None:
                _check_variable(variable, f"The variable {path_of(found)!r} in state[{name!r}]")


def check_leaves(leaves: Iterable[Leaf], *, in_job: bool) -> None:
    """Check that every variable among the leaves of a state has a strategy that is supported.

    Args:
        leaves: of the state.
        in_job: whether the run was opened as one of several workers.

    Raises:
        ConfigError: If one has another one: it was made after the run was opened.
    """
    for leaf in leaves:
        if isinstance(leaf, VariableLeaf):
            what = f"The variable {leaf.path!r} ({leaf.key})"
            _check_variable(leaf.variable, what)
            if not in_job and _workers_of(getattr(leaf.variable, "distribute_strategy", None)) > 1:
                raise ConfigError(
                    f"{what} was made under MultiWorkerMirroredStrategy, and joins the state of a "
                    "run that was opened without it. Make it before the run is opened."
                )


def check_strategy(strategy: Any) -> None:
    """Check that a strategy is supported.

    Args:
        strategy: the argument of `manager.data`.

    Raises:
        ConfigError: If it is not, or is no strategy.
    """
    if not isinstance(strategy, tf.distribute.Strategy):
        raise ConfigError(
            "Expected a strategy of tf.distribute, as in manager.data(dataset, "
            f"strategy=tf.distribute.MirroredStrategy()). Received: {strategy!r}."
        )
    if not _is_supported(strategy):
        raise _refusal("The data was to be split", strategy)
    if _workers_of(strategy) > 1:
        raise ConfigError(
            "Expected the data of this worker, as in manager.data(dataset.shard(workers, rank)). "
            "Received: strategy=... of several workers, whose data is not split here."
        )


def _variable_of(value: Any) -> tf.Variable | None:
    """Return the `tf.Variable` of a value (itself, or inside a Keras variable), or None."""
    if isinstance(value, keras.Variable):
        return None if tf_checkpoint.uninitialized(value) else value.value
    return value if isinstance(value, tf.Variable) else None


def _check_variable(variable: tf.Variable, what: str) -> None:
    # Variables of parameter servers are no DistributedValues. They know their strategy, or have a
    # device of another process.
    strategy = getattr(variable, "distribute_strategy", None)
    spread = strategy is not None or isinstance(variable, tf.distribute.DistributedValues)
    if spread and (strategy is None or not _is_supported(strategy)):
        raise _refusal(f"{what} was made", strategy)
    if isinstance(variable, tf.experimental.dtensor.DVariable):
        raise ConfigError(f"{what} {_DTENSOR}")
    if not spread and tf.DeviceSpec.from_string(variable.device).job == "ps":
        raise _refusal(f"{what} was made", None)


def _is_supported(strategy: Any) -> bool:
    if isinstance(strategy, tf.distribute.MirroredStrategy):
        # It may also be given devices of other processes, which it would have to be asked for.
        devices = map(tf.DeviceSpec.from_string, strategy.extended.worker_devices)
        return len({(device.job, device.task) for device in devices}) == 1
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return _workers_of(strategy) > 1
    return isinstance(strategy, tf.distribute.OneDeviceStrategy) or strategy is _no_strategy()


def _no_strategy() -> Any:
    """Return TensorFlow's object for "no strategy", of which a process has only one."""
    # Scopes of strategies belong to a graph, and a new graph is in none. Entering the scope of the
    # strategy in question instead would fail inside the scope of another one.
    with tf.Graph().as_default():
        return tf.distribute.get_strategy()


def _refusal(what: str, strategy: Any) -> ConfigError:
    name = _name_of(strategy)
    needed = f": {_NEEDED[name]}" if name in _NEEDED else ""
    return ConfigError(
        f"{what} under {_described(strategy)}, which is not supported{needed}. Make and train the "
        "model without a strategy, or under tf.distribute.MirroredStrategy with the devices of one "
        "machine, under tf.distribute.OneDeviceStrategy, or in a loop of your own under "
        "tf.distribute.MultiWorkerMirroredStrategy."
    )


def _name_of(strategy: Any) -> str:
    if strategy is None:
        return "a strategy of tf.distribute"
    # TensorFlow's own name of that class is one that no user has written.
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return "MultiWorkerMirroredStrategy"
    return type(strategy).__name__.removesuffix("V1").removesuffix("V2")


def _described(strategy: Any) -> str:
    """Return the name of a strategy, with the number of its workers if there are several."""
    workers = _workers_of(strategy)
    return _name_of(strategy) + (f" with {workers} workers" if workers > 1 else "")


def _workers_of(strategy: Any) -> int:
    """Return the number of workers of a strategy; 0 if it is for one process."""
    # Found from the strategy: TF_CONFIG is only one of the ways to tell it who the workers are.
    resolver = getattr(strategy, "cluster_resolver", None)
    tasks = resolver.cluster_spec().as_dict() if resolver is not None else {}
    return sum(len(addresses) for addresses in tasks.values())


def build_optimizer(optimizer: Any, variables: Sequence[Any]) -> None:
    """Make the variables of an optimizer in the scope of the strategy that has its model.

    TensorFlow refuses to make them outside of the scope.

    Args:
        optimizer: a Keras optimizer.
        variables: the trainable variables of the model.
    """
    raw = (getattr(each, "value", each) for each in variables)
    strategies = (getattr(each, "distribute_strategy", None) for each in raw)
    strategy = next((each for each in strategies if each is not None), None)
    with nullcontext() if strategy is None else strategy.scope():
        optimizer.build(variables)
