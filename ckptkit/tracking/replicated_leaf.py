"""Leaves of variables that `tf.distribute` keeps once on each device: one value per replica.

TensorFlow reads such a variable as one value: that of the first replica, or the sum or mean of all.
A resume that is equal in every bit needs each of them. Each is a plain variable, so it is read and
set without TensorFlow's slow operations on all replicas, and without waiting for anybody.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from ckptkit.log import logger
from ckptkit.run.manifest import OPTIMIZER
from ckptkit.run.tensor_entry import replica_part
from ckptkit.tracking.bits import same_bits
from ckptkit.tracking.leaves import Tensors, VariableLeaf
from ckptkit.tracking.variable_replicas import (
    aggregation_of,
    components_of,
    is_read_by_aggregation,
    read_replica,
)


@dataclass
class ReplicaChecks:
    """What comparing the replicas of one variable has found so far.

    Args:
        were_equal: whether they had the same bits in an earlier snapshot.
        differ: whether they had other bits, so that each is saved from then on.
    """

    were_equal: bool = False
    differ: bool = False


@dataclass(frozen=True)
class ReplicatedLeaf(VariableLeaf):
    """A leaf that is a variable with one value per replica.

    Args:
        components: the variable of each replica, in order.
        checks: what comparing them has found; the writer's thread changes it.
    """

    components: tuple[tf.Variable, ...] = ()
    checks: ReplicaChecks = field(default_factory=ReplicaChecks, compare=False)

    @property
    def aggregation(self) -> str:
        """How TensorFlow reads the value: `sum`, `mean`, `first`; `none` if from one replica."""
        return aggregation_of(self.variable)

    @functools.cached_property
    def may_differ(self) -> bool:
        """Whether the replicas may have other values each, by the kind of the variable.

        TensorFlow aggregates what replicas write to other variables; optimizers and the weights
        that they train get the same update everywhere. What is left are metrics, the statistics of
        BatchNormalization, and variables of the program.
        """
        if is_read_by_aggregation(self.variable):
            return True
        trained = self.trainable or self.key.split("/")[1] == OPTIMIZER
        return not trained and self.variable.aggregation.name == "NONE"

    @functools.cached_property
    def is_in_host_memory(self) -> bool:
        """Return whether all components are in the host's memory."""
        return all("CPU" in component.device.upper() for component in self.components)

    def capture(self) -> Tensors:
        return {replica_part(number): self.read(number) for number in range(len(self.components))}

    def read(self, number: int) -> tf.Tensor:
        """Return the value of one replica, on the host."""
        return read_replica(self.components[number])

    def assign(self, tensors: Mapping[str, tf.Tensor]) -> None:
        if len(tensors) > 1 and not self.may_differ:
            # They had become different in an earlier attempt, so each is saved from now on.
            self.checks.differ = True
        # A replica that was left out has the bits of the first one.
        for number, component in enumerate(self.components):
            component.assign(tensors.get(replica_part(number), tensors[""]))

    def distinct(self, tensors: Tensors) -> Tensors:
        """Return captured values without those of replicas that equal the first one.

        Called on the writer's thread, because it compares all bytes.
        """
        kept = {"": _on_host(tensors[""])}
        for part, tensor in tensors.items():
            if part and not same_bits(tensors[""], tensor):
                kept[part] = _on_host(tensor)
        if len(tensors) > 1 and not self.may_differ:
            self._note(differ=len(kept) > 1)
        return kept

    def _note(self, *, differ: bool) -> None:
        if differ and self.checks.were_equal and not self.checks.differ:
            logger.warning(
                "the replicas of %r (%s) have become different, which TensorFlow does not do by "
                "itself. Each is saved from now on; checkpoints since the start of this attempt "
                "may have the first replica's value for all",
                self.path,
                self.key,
            )
        self.checks.were_equal |= not differ
        self.checks.differ |= differ


def variable_leaf(
    key: str, path: str, variable: Any, trainable: bool | None = None, place: str = ""
) -> VariableLeaf:
    """Return the leaf of a variable, on one device or on several.

    Args:
        key, path, variable, trainable, place: see `VariableLeaf`.
    """
    if not isinstance(variable, tf.distribute.DistributedValues):
        return VariableLeaf(key, path, variable, trainable, place=place)
    return ReplicatedLeaf(
        key, path, variable, trainable, place=place, components=components_of(variable)
    )


def _on_host(tensor: tf.Tensor) -> tf.Tensor:
    """Return a tensor on the first device of the host, from where TensorFlow writes its files."""
    with tf.device("CPU:0"):
        return tf.identity(tensor)
