"""Renumbers Keras' automatic names so that they are equal in every process; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBERED = re.compile(r"_(\d+)(?=/|$)")


def renumbered(paths: Sequence[str]) -> list[str]:
    """Return paths in which the numbers of automatic names are replaced by their rank.

    The rank is that among all numbers of the same name. So `dense_4, dense_7` and `dense, dense_1`
    give the same result.
    """
    numbers: dict[str, set[int]] = {}
    for path in paths:
        for name, number in _components(path):
            numbers.setdefault(name, set()).add(number)
    ranks = {
        name: {number: rank for rank, number in enumerate(sorted(found))}
        for name, found in numbers.items()
    }
    return [
        "/".join(f"{name}#{ranks[name][number]}" for name, number in _components(path))
        for path in paths
    ]


def _components(path: str) -> list[tuple[str, int]]:
    """Return the parts of a path, each as name and number; 0 if it has no number."""
    parts = []
    for part in path.split("/"):
        match = _NUMBERED.search(part)
        parts.append((part[: match.start()], int(match[1])) if match else (part, 0))
    return parts
