"""The values of a variable that `tf.distribute` keeps once on each device, one per replica.

Each value is a plain variable of TensorFlow, which is read and set without an operation on all
replicas. To read the distributed variable itself would return one value: that of the first replica,
or the sum or mean of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

SUM, MEAN, FIRST, NONE = "sum", "mean", "first", "none"
"""How the values of the replicas make the value that TensorFlow reads."""

_AGGREGATIONS = {"SUM": SUM, "MEAN": MEAN, "ONLY_FIRST_REPLICA": FIRST}


def components_of(variable: Any) -> tuple[tf.Variable, ...]:
    """Return the variables of which a distributed variable consists, one for each replica."""
    return tuple(variable.distribute_strategy.experimental_local_results(variable))


def is_read_by_aggregation(variable: Any) -> bool:
    """Return whether each replica has a value of its own until TensorFlow reads the variable."""
    return bool(variable.synchronization == tf.VariableSynchronization.ON_READ)


def aggregation_of(variable: Any) -> str:
    """Return how TensorFlow reads a variable: `sum`, `mean`, `first`; `none` if from one replica.

    Args:
        variable: a distributed variable.
    """
    if not is_read_by_aggregation(variable):
        return NONE
    return _AGGREGATIONS.get(variable.aggregation.name, NONE)


def read_replica(component: tf.Variable) -> tf.Tensor:
    """Return the value of one replica, on the host."""
    with tf.device("CPU:0"):
        return tf.identity(component.read_value())


def fit_number(values: Sequence[tf.Tensor], aggregation: str, replicas: int) -> list[tf.Tensor]:
    """Return saved values for another number of replicas.

    A sum moves to the first replica, and the others begin with zero. A mean moves to all. Other
    values stay with their replicas.

    Args:
        values: the saved values, one per replica.
        aggregation: how TensorFlow makes one value of them.
        replicas: the number of replicas that there are now.

    Returns:
        The values from the first replica on. Each replica without one takes the first value.
    """
    if len(values) == replicas:
        return list(values)
    if aggregation == SUM:
        return [tf.add_n(values)] + [tf.zeros_like(values[0])] * (replicas - 1)
    if aggregation == MEAN:
        return [tf.cast(tf.add_n(values) / len(values), values[0].dtype)]
    return list(values[:replicas])
