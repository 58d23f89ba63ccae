"""Changed hyperparameters are said, not guessed: pure comparison of what a run had with what the
code says now.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from ckptkit.errors import ConfigError

CODE, CHECKPOINT = "code", "checkpoint"

HPARAMS = "hparams"
"""Where the user's own hyperparameters stand in the manifest; and what goes before the name of one
that an argument has as well.
"""

NOT_THERE = object()
"""The value of one of the user's own hyperparameters that only the other side has."""


@dataclass(frozen=True)
class HyperparameterDifference:
    """A hyperparameter that the code gives another value than the run had.

    Args:
        name: its name; of the user's own, with `hparams.` before it where an argument has the same
            name.
        then: what the run had.
        now: what the code says.
        settled: `code` or `checkpoint`: which of the two counts.
    """

    name: str
    then: object
    now: object
    settled: str


def check_changed(changed: object) -> dict[str, str]:
    """Checks the argument `changed`.

    Raises:
        ConfigError: where it is not a dictionary of names and decisions.
    """
    if changed is None:
        return {}
    if not isinstance(changed, Mapping) or not all(
        decision in (CODE, CHECKPOINT) for decision in changed.values()
    ):
        raise ConfigError(
            "changed says for a hyperparameter which value counts, as in "
            f"changed={{'learning_rate': 'code'}}; 'code' or "
            f"'checkpoint'. Received: changed={changed!r}."
        )
    return dict(changed)


def settle(
    then: Mapping[str, object],
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changed: Mapping[str, str],
    settable: frozenset[str],
) -> list[HyperparameterDifference]:
    """All changes, each settled.

    Args:
        then: what the run had, as `recorded` made it.
        now: what the code configures: arguments of optimizers, loss, batch size.
        hparams: the user's own hyperparameters.
        changed: the user's decisions.
        settable: names whose value can be put into effect: arguments of optimizers that are
            numbers.

    Raises:
        ConfigError: where a change is not settled, with name, then and now.
    """
    own_then, own_now = _own(then, hparams)
    configured = {
        name: value
        for name, value in then.items()
        if name != HPARAMS and (HPARAMS in then or name not in own_then)
    }
    known = {*configured, *now}
    found = [
        HyperparameterDifference(name, configured[name], now[name], changed.get(name, ""))
        for name in configured
        if name in now
    ]
    found += [
        HyperparameterDifference(
            f"{HPARAMS}.{name}" if name in known else name,
            own_then.get(name, NOT_THERE),
            own_now.get(name, NOT_THERE),
            _decision(name, known, changed),
        )
        for name in {**own_then, **own_now}
    ]
    differing = [change for change in found if not _equal(change.then, change.now)]
    open_ones = [change for change in differing if not change.settled]
    if open_ones:
        rows = "\n".join(
            f"  {change.name}: the run has {spelled(change.then)}, the code says "
            f"{spelled(change.now)}"
            for change in open_ones
        )
        decisions = ", ".join(
            f"{change.name!r}: 'code' or 'checkpoint'"
            if _can_be_set(change, settable)
            else f"{change.name!r}: 'code'"
            for change in open_ones
        )
        raise ConfigError(
            "The code configures this run otherwise than it was begun. Nothing was trained or "
            f"overwritten.\n{rows}\nSay which "
            f"counts, changed={{{decisions}}}; or put the value back; or name another directory "
            "for a new run."
        )
    stuck = [
        change.name
        for change in differing
        if change.settled == CHECKPOINT and not _can_be_set(change, settable)
    ]
    if stuck:
        raise ConfigError(
            f"{', '.join(stuck)} cannot be taken from the checkpoint: only your code can set it. "
            "Put the value back in the code, "
            f"or say changed={{{stuck[0]!r}: 'code'}}."
        )
    return differing


def recorded(
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changes: Sequence[HyperparameterDifference],
) -> dict[str, object]:
    """What stands in the manifest: what is configured, and the user's own under a name of theirs,
    so that one can be called like an argument.
    """
    kept = {change.name: change.then for change in changes if change.settled == CHECKPOINT}
    return {**now, **kept, HPARAMS: dict(hparams)}


def are_new(then: Mapping[str, object], hparams: Mapping[str, object]) -> bool:
    """Whether the user names hyperparameters, and the run was begun without any."""
    return bool(hparams) and not (
        then[HPARAMS] if HPARAMS in then else any(name in then for name in hparams)
    )


def _own(
    then: Mapping[str, object], hparams: Mapping[str, object]
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The user's hyperparameters of then and now, as far as they can be compared."""
    own = then.get(HPARAMS)
    if isinstance(own, Mapping):
        return (own, hparams) if own else ({}, {})
    both = [
        name for name in hparams if name in then
    ]  # an older checkpoint does not say which values were the user's own
    return {name: then[name] for name in both}, {name: hparams[name] for name in both}


def _decision(name: str, known: Container[str], changed: Mapping[str, str]) -> str:
    """What was decided for one of the user's own; where the code counts for an argument of the same
    name, it counts for this one too.
    """
    plain = changed.get(name, "")
    return changed.get(f"{HPARAMS}.{name}", plain if name not in known or plain == CODE else "")


def _can_be_set(change: HyperparameterDifference, settable: frozenset[str]) -> bool:
    """Whether the value of then can be put into effect."""
    return change.name in settable and isinstance(change.then, int | float)


def spelled(value: object) -> str:
    """A value for a message."""
    return "nothing of that name" if value is NOT_THERE else json.dumps(value)


def _equal(then: object, now: object) -> bool:
    return then is now or (
        NOT_THERE not in (then, now)
        and json.dumps(then, sort_keys=True) == json.dumps(now, sort_keys=True)
    )
