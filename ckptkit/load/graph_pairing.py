"""Pairs the objects of a program with those of a checkpoint, by the names that lead to them. Pure.

It follows the rule of `tf.train.Checkpoint.restore`, but tells what it has not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckptkit.compat.tf_checkpoint import GraphNode


def pair_graphs(live: Sequence[GraphNode], saved: Sequence[GraphNode]) -> dict[str, str]:
    """Return the key in the checkpoint for each variable that both sides have.

    An entry of the program whose name the checkpoint does not have is paired with the entry that
    has the most variables in common, if there is one such entry.

    Args:
        live: the objects of the program; the first is the root.
        saved: the objects of the checkpoint; the first is its root.

    Returns:
        The keys of the checkpoint by those of the program.
    """
    pairs: dict[str, str] = {}
    _walk(live, saved, 0, 0, pairs, set())
    claimed = live[0].children.keys() & saved[0].children.keys()
    for name, number in live[0].children.items():
        if name in claimed:
            continue
        found = {
            other: _walk(live, saved, number, start, {}, set())
            for other, start in saved[0].children.items()
            if other not in claimed
        }
        most = max((len(each) for each in found.values()), default=0)
        best = [other for other, each in found.items() if len(each) == most]
        if most and len(best) == 1:
            claimed.add(best[0])
            for key, value in found[best[0]].items():
                pairs.setdefault(key, value)
    return pairs


def _walk(
    live: Sequence[GraphNode],
    saved: Sequence[GraphNode],
    mine: int,
    theirs: int,
    pairs: dict[str, str],
    seen: set[tuple[int, int]],
) -> Mapping[str, str]:
    """Add the pairs below two objects."""
    waiting = [(mine, theirs)]
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        node, other = live[place[0]], saved[place[1]]
        if node.key and other.key:
            pairs.setdefault(node.key, other.key)
        waiting.extend(
            (number, other.children[name])
            for name, number in node.children.items()
            if name in other.children
        )
    return pairs
