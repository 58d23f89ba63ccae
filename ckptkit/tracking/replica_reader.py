"""Reads the variables of several replicas with one operation for each device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from ckptkit.compat import tf_checkpoint
from ckptkit.run.tensor_entry import replica_part
from ckptkit.tracking.leaves import Tensors
from ckptkit.tracking.replicated_leaf import ReplicatedLeaf

_CHECKED_BYTES = 16 * 1024 * 1024
"""How much of what should be equal on all replicas is compared in each snapshot."""

Place = tuple[int, int]
"""The number of a leaf, and of a replica."""


@dataclass(frozen=True)
class PlacedTensors:
    """Tensors that were read together.

    Args:
        places: where each belongs.
        tensors: the tensors.
    """

    places: Sequence[Place]
    tensors: Sequence[tf.Tensor]


@dataclass(frozen=True)
class _Read:
    """A prepared operation, or copies from accelerators one by one."""

    places: Sequence[Place]
    run: Callable[[], list[tf.Tensor]]

    def now(self) -> PlacedTensors:
        return PlacedTensors(self.places, self.run())


class ReplicaReader:
    """Reads replicated variables.

    The first replica of each is always read, and the others if they may differ. Of variables that
    should be equal everywhere, some are read in turn, so that the writer can check that they are;
    the first time all of them, but not from an accelerator, from which every value is a copy. So a
    snapshot has little more than one copy of the state.

    Args:
        leaves: the leaves to read.
    """

    def __init__(self, leaves: Iterable[ReplicatedLeaf]) -> None:
        self._leaves = tuple(leaves)
        self._differing = 0  # of those that should be equal
        # Prepared once, because a snapshot stops training.
        self._always: list[_Read] = []
        self._checks: list[list[_Read]] = []
        self._prepare()
        self._snapshots = 0

    def read(self) -> list[PlacedTensors]:
        """Return the current values; `in_order` puts them into order."""
        if sum(leaf.checks.differ for leaf in self._leaves) != self._differing:
            self._prepare()
        reads = list(self._always)
        if not self._snapshots:
            reads += [
                read
                for reads in self._checks
                for read in reads
                if self._leaves[read.places[0][0]].is_in_host_memory
            ]
        elif self._checks:
            reads += self._checks[self._snapshots % len(self._checks)]
        self._snapshots += 1
        return [read.now() for read in reads]

    def in_order(self, values: Iterable[PlacedTensors]) -> list[Tensors]:
        """Return the values of each leaf, by the part of their keys.

        Args:
            values: what `read` returned.
        """
        found: list[Tensors] = [{} for _ in self._leaves]
        for each in values:
            for (number, replica), tensor in zip(each.places, each.tensors, strict=True):
                found[number][replica_part(replica)] = tensor
        return found

    def _prepare(self) -> None:
        self._differing = sum(leaf.checks.differ for leaf in self._leaves)
        each = {
            number
            for number, leaf in enumerate(self._leaves)
            if leaf.may_differ or leaf.checks.differ
        }
        first = [(number, 0) for number in range(len(self._leaves))]
        self._always = list(self._reads([*first, *self._further(each)]))
        equal = [number for number in range(len(self._leaves)) if number not in each]
        self._checks = [list(self._reads(self._further(some))) for some in self._in_parts(equal)]

    def _further(self, numbers: Iterable[int]) -> list[Place]:
        """Return the places of all replicas of some leaves except for the first one."""
        return [
            (number, replica)
            for number in sorted(numbers)
            for replica in range(1, len(self._leaves[number].components))
        ]

    def _in_parts(self, numbers: Iterable[int]) -> Iterator[list[int]]:
        """Yield leaves in parts of which each is compared in one snapshot."""
        part: list[int] = []
        size_bytes = 0
        for number in numbers:
            variable = self._leaves[number].variable
            part.append(number)
            size_bytes += variable.dtype.size * int(variable.shape.num_elements() or 0)
            if size_bytes >= _CHECKED_BYTES:
                yield part
                part, size_bytes = [], 0
        if part:
            yield part

    def _reads(self, places: Iterable[Place]) -> Iterator[_Read]:
        """Yield what reads the given places: one operation cannot read from several devices."""
        by_device: dict[str, list[Place]] = {}
        for number, replica in places:
            leaf = self._leaves[number]
            device = leaf.components[replica].device if leaf.is_in_host_memory else ""
            by_device.setdefault(device, []).append((number, replica))
        for device, some in by_device.items():
            yield _Read(some, self._operation(some) if device else self._copies(some))

    def _operation(self, places: Sequence[Place]) -> Callable[[], list[tf.Tensor]]:
        return tf_checkpoint.variables_reader(
            [self._leaves[number].components[replica] for number, replica in places]
        )

    def _copies(self, places: Sequence[Place]) -> Callable[[], list[tf.Tensor]]:
        return lambda: [self._leaves[number].read(replica) for number, replica in places]
