"""Checks that the state is on one device, and refuses state that `tf.distribute` has spread.

It reads no variable. To read one that several workers share is a collective operation: it waits for
the other workers, or joins one of their operations and destroys its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.errors import ConfigError
from ckptkit.tracking.leaves import Leaf, VariableLeaf, path_of
from ckptkit.tracking.reachable_objects import visit


def check_one_device(state: Mapping[str, Any]) -> None:
    """Check that no part of a state, and not the calling code, belongs to several devices.

    Args:
        state: what the run saves, by name. It need not be built.

    Raises:
        ConfigError: If the code runs in the scope of a strategy that is not supported, or a model
            or variable was made under one.
    """
    none = _no_strategy()
    if not _is_supported(strategy := tf.distribute.get_strategy(), none):
        raise _refusal("The program runs", strategy)
    # A model leads to its optimizer, which usually has an entry of its own: visit it once.
    seen: dict[int, Any] = {}
    for name, value in state.items():
        for _, found in visit(value, seen):
            # A model that is not built has no variables yet, and knows its strategy.
            if isinstance(found, keras.Model):
                if not _is_supported(strategy := found.distribute_strategy, none):
                    raise _refusal(f"The model in state[{name!r}] was made", strategy)
            elif (variable := _variable_of(found)) is not None:
                _check_variable(variable, f"The variable {path_of(found)!r} in state[{name!r}]")


def check_leaves(leaves: Iterable[Leaf]) -> None:
    """Check that every variable among the leaves of a state is on one device.

    Args:
        leaves: of the state.

    Raises:
        ConfigError: If one is not: it was made after the run was opened.
    """
    for leaf in leaves:
        if isinstance(leaf, VariableLeaf):
            _check_variable(leaf.variable, f"The variable {leaf.path!r} ({leaf.key})")


def _variable_of(value: Any) -> tf.Variable | None:
    """Return the `tf.Variable` of a value (itself, or inside a Keras variable), or None."""
    if isinstance(value, keras.Variable):
        return None if tf_checkpoint.uninitialized(value) else value.value
    return value if isinstance(value, tf.Variable) else None


def _check_variable(variable: tf.Variable, what: str) -> None:
    # Variables of parameter servers are no DistributedValues. They know their strategy, or have a
    # device of another process.
    strategy = getattr(variable, "distribute_strategy", None)
    if strategy is not None or isinstance(variable, tf.distribute.DistributedValues):
        raise _refusal(f"{what} was made", strategy)
    if isinstance(variable, tf.experimental.dtensor.DVariable):
        raise ConfigError(
            f"{what} is laid out by DTensor, which is not supported. Make it without a layout."
        )
    if tf.DeviceSpec.from_string(variable.device).job == "ps":
        raise _refusal(f"{what} was made", None)


def _is_supported(strategy: Any, no_strategy: Any) -> bool:
    return strategy is no_strategy or isinstance(strategy, tf.distribute.OneDeviceStrategy)


def _no_strategy() -> Any:
    """Return TensorFlow's object for "no strategy", of which a process has only one."""
    # Scopes of strategies belong to a graph, and a new graph is in none. Entering the scope of the
    # strategy in question instead would fail inside the scope of another one.
    with tf.Graph().as_default():
        return tf.distribute.get_strategy()


def _refusal(what: str, strategy: Any) -> ConfigError:
    return ConfigError(
        f"{what} under {_described(strategy)}, and training on several devices or workers is not "
        "supported yet. Make and train the model without a strategy, or under "
        "tf.distribute.OneDeviceStrategy."
    )


def _described(strategy: Any) -> str:
    """Return the name of a strategy, with the number of its workers if there are several."""
    if strategy is None:
        return "a strategy of tf.distribute"
    # Found from the strategy: TF_CONFIG is only one of the ways to tell it who the workers are.
    resolver = getattr(strategy, "cluster_resolver", None)
    tasks = resolver.cluster_spec().as_dict() if resolver is not None else {}
    workers = sum(len(addresses) for addresses in tasks.values())
    # TensorFlow's own name of that class is one that no user has written.
    multi_worker = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    name = "MultiWorkerMirroredStrategy" if multi_worker else type(strategy).__name__
    return name + (f" with {workers} workers" if workers > 1 else "")
