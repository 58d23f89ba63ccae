"""Who the workers of a job are, and whether they run the same program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckptkit.errors import ConfigError

_MOST_SHOWN = 300


@dataclass(frozen=True)
class JobMember:
    """The place of one worker in its job.

    Args:
        rank: its number, from 0; worker 0 writes.
        size: the number of workers.
    """

    rank: int
    size: int


def member_of(tasks: Mapping[str, Sequence[str]], kind: str, index: int) -> JobMember:
    """Return the place of a task; TensorFlow numbers the chief before the workers.

    Args:
        tasks: the addresses of all tasks, by kind.
        kind: the kind of this task: `chief` or `worker`.
        index: its number among these.

    Raises:
        ConfigError: If the task does not train, or others have kinds that do not train together.
    """
    chiefs, workers = len(tasks.get("chief", ())), len(tasks.get("worker", ()))
    if kind not in ("chief", "worker") or chiefs + workers != sum(map(len, tasks.values())):
        raise ConfigError(
            "Expected a job of workers, and a chief if there is one. Received: "
            f"{', '.join(sorted(tasks))}, and this process is {kind!r} {index}. An evaluator and "
            "parameter servers are not supported: start them in a job of their own."
        )
    return JobMember(index if kind == "chief" else chiefs + index, chiefs + workers)


def check_alike(there: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Check that all workers have described themselves in the same way.

    Args:
        there: the description of each worker, by rank.
        names: the name of each worker, for the message.

    Raises:
        ConfigError: With the first difference, and what it is on both sides.
    """
    for rank, each in enumerate(there):
        for what in dict.fromkeys((*there[0], *each)):
            first, other = there[0].get(what), each.get(what)
            if first != other:
                first, other = _without_equal(first, other)
                raise ConfigError(
                    f"Expected the same {what} on all workers. Received: {_shown(first)} on worker "
                    f"0 ({names[0]}), and {_shown(other)} on worker {rank} ({names[rank]}). "
                    "Start all workers with the same program, arguments and libraries."
                )


def _without_equal(first: Any, other: Any) -> tuple[Any, Any]:
    """Return two values without what is equal in them, if they have parts."""
    if isinstance(first, dict) and isinstance(other, dict):
        names = [name for name in {**first, **other} if first.get(name) != other.get(name)]
        return (
            {name: first.get(name) for name in names},
            {name: other.get(name) for name in names},
        )
    return first, other


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
