"""Fits saved values to another number of replicas.

A value that all replicas share moves as it is. Of values that each replica has for itself, sums are
joined on the first replica, means on all, and others are kept by each replica that still exists; a
new one begins with the first one's. On one device that is what TensorFlow reads from the variable.
"""

from __future__ import annotations

from collections.abc import Sequence

from ckptkit.run.tensor_entry import TensorEntry, leaf_key, replica_part
from ckptkit.tracking.leaves import Leaf, Tensors
from ckptkit.tracking.replicated_leaf import ReplicatedLeaf
from ckptkit.tracking.variable_replicas import MEAN, NONE, SUM, fit_number


def entries_by_leaf(entries: Sequence[TensorEntry]) -> dict[str, TensorEntry]:
    """Return the descriptions of saved variables, by the keys of their leaves."""
    return {leaf_key(each.key): each for each in entries if each.kind == "variable"}


def fit_replicas(leaf: Leaf, parts: Tensors, saved: TensorEntry | None) -> Tensors:
    """Return the values to assign to a leaf, with as many replicas as it has.

    Args:
        leaf: a leaf of the program.
        parts: the saved values, by part.
        saved: their description; None if it is no variable.
    """
    if saved is None:
        return parts
    then = saved.replicas if isinstance(saved.replicas, int) else 1
    now = len(leaf.components) if isinstance(leaf, ReplicatedLeaf) else 1
    if then == now:
        return parts
    # A variable that was on one device has no aggregation there.
    how = leaf.aggregation if then == 1 and isinstance(leaf, ReplicatedLeaf) else saved.aggregation
    how = how if isinstance(how, str) else NONE
    each = [parts.get(replica_part(number), parts[""]) for number in range(then)]
    return {replica_part(number): value for number, value in enumerate(fit_number(each, how, now))}


def replicas_in(entries: Sequence[TensorEntry]) -> int:
    """Return the number of replicas that a checkpoint was saved from."""
    return max((each.replicas for each in entries if isinstance(each.replicas, int)), default=1)


def replicas_of(leaves: Sequence[Leaf]) -> int:
    """Return the number of replicas that the state in the program has."""
    spread = (len(leaf.components) for leaf in leaves if isinstance(leaf, ReplicatedLeaf))
    return max(spread, default=1)


def with_values_of_their_own(entries: Sequence[TensorEntry]) -> list[str]:
    """Return the paths of variables of which the replicas have values of their own."""
    return list(
        dict.fromkeys(
            entry.path for entry in entries if entry.replica or entry.aggregation in (SUM, MEAN)
        )
    )
