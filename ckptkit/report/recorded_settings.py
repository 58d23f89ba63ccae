"""Collects the recorded environment and configuration of a run, with all changes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptkit.report.attempt_ledger import Attempt
from ckptkit.report.clamp_time import moment
from ckptkit.report.document import Changed, Configuration, Spell, Surrounding
from ckptkit.run.events import Event, HyperparameterChanged
from ckptkit.run.manifest import Manifest


def environment(attempts: Sequence[Attempt]) -> tuple[Surrounding, ...]:
    """Return each property of the environment with its values, in the order of first mention."""
    values: dict[str, list[tuple[str, list[int]]]] = {}
    for attempt in attempts:
        for name, value in _of(attempt):
            spells = values.setdefault(name, [])
            if not spells or spells[-1][0] != value:
                spells.append((value, []))
            spells[-1][1].append(attempt.number)
    return tuple(
        Surrounding(
            name=name,
            spells=tuple(Spell(value=value, attempts=tuple(numbers)) for value, numbers in spells),
        )
        for name, spells in values.items()
    )


def _of(attempt: Attempt) -> Iterator[tuple[str, str]]:
    yield "program", attempt.program
    yield "host", attempt.host
    yield from sorted(attempt.versions.items())
    for name, value in sorted(attempt.scheduler.items()):
        yield f"scheduler: {name}", value


def configuration(newest: Manifest | None, events: Sequence[Event]) -> Configuration:
    """Return the configuration from the newest checkpoint, and the recorded changes.

    Args:
        newest: the newest manifest that can be read, or None.
        events: the journal, in the order of time.
    """
    changes = tuple(
        Changed(
            at=moment(event.time),
            attempt=event.attempt,
            name=event.name,
            then=event.then,
            now=event.now,
            settled=event.settled,
        )
        for event in events
        if isinstance(event, HyperparameterChanged)
    )
    return Configuration(
        checkpoint=None if newest is None else str(newest.name),
        hyperparameters={} if newest is None else newest.hyperparameters,
        changes=changes,
    )
