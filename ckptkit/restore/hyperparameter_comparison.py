"""Changed hyperparameters: a pure comparison of what a run was trained with and what the code sets.

A change is never resolved silently: the user decides for each name which value counts.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from ckptkit.errors import ConfigError

CODE, CHECKPOINT = "code", "checkpoint"

HPARAMS = "hparams"
"""The name of the user's own hyperparameters in the manifest.

It also precedes one of their names if an argument has the same name.
"""

ABSENT = object()
"""The value of a hyperparameter of the user's that only the other side has."""


@dataclass(frozen=True)
class HyperparameterDifference:
    """A hyperparameter whose value in the code differs from the run's.

    Args:
        name: its name. One of the user's own has `hparams.` before it if an argument has the same
            name.
        then: the run's value.
        now: the code's value.
        settled: which of the two counts, `code` or `checkpoint`.
    """

    name: str
    then: object
    now: object
    settled: str


def check_changed(changed: object) -> dict[str, str]:
    """Check the argument `changed`.

    Args:
        changed: the argument as the user gave it.

    Raises:
        ConfigError: if it is not a dictionary of names and decisions.
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


def unknown_names(
    then: Mapping[str, object],
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changed: Mapping[str, str],
) -> tuple[list[str], list[str]]:
    """Return the names in `changed` that nothing has, and those that it could have named.

    Args:
        then, now, hparams, changed: as for `settle`.
    """
    own_then, own_now = _own(then, hparams)
    own = {**hparams, **own_then, **own_now}
    known = {name for name in (*then, *now) if name != HPARAMS} | own.keys()
    decidable = known | {f"{HPARAMS}.{name}" for name in own}
    return [name for name in changed if name not in decidable], sorted(known)


def settle(
    then: Mapping[str, object],
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changed: Mapping[str, str],
    settable: frozenset[str],
) -> list[HyperparameterDifference]:
    """Return all changes, each with the user's decision.

    Args:
        then: the run's values, as `recorded` returned them.
        now: the code's values: arguments of optimizers, loss, batch size.
        hparams: the user's own hyperparameters.
        changed: the user's decisions by name.
        settable: names whose recorded value can be set: arguments of optimizers that are numbers.

    Raises:
        ConfigError: if a change has no decision, with name, recorded and present value.
    """
    differing = [
        change
        for change in _pairs(then, now, hparams, changed)
        if not _equal(change.then, change.now)
    ]
    undecided = [change for change in differing if not change.settled]
    if undecided:
        raise ConfigError(_question(undecided, settable))
    unsettable = [
        change.name
        for change in differing
        if change.settled == CHECKPOINT and not _can_be_set(change, settable)
    ]
    if unsettable:
        raise ConfigError(
            f"{', '.join(unsettable)} cannot be taken from the checkpoint: only your code can set "
            "it. Put the value back in the code, "
            f"or say changed={{{unsettable[0]!r}: 'code'}}."
        )
    return differing


def _pairs(
    then: Mapping[str, object],
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changed: Mapping[str, str],
) -> list[HyperparameterDifference]:
    """Return all values that can be compared, changed or not; see `settle` for the arguments."""
    own_then, own_now = _own(then, hparams)
    # A checkpoint without HPARAMS is an older one, which mixes the user's own names with the rest.
    configured = {
        name: value
        for name, value in then.items()
        if name != HPARAMS and (HPARAMS in then or name not in own_then)
    }
    known = {*configured, *now}
    pairs = [
        HyperparameterDifference(name, configured[name], now[name], changed.get(name, ""))
        for name in configured
        if name in now
    ]
    pairs += [
        HyperparameterDifference(
            f"{HPARAMS}.{name}" if name in known else name,
            own_then.get(name, ABSENT),
            own_now.get(name, ABSENT),
            _decision(name, known, changed),
        )
        for name in {**own_then, **own_now}
    ]
    return pairs


def _question(undecided: Sequence[HyperparameterDifference], settable: frozenset[str]) -> str:
    """Return the message that asks the user for decisions."""
    rows = "\n".join(
        f"  {change.name}: the run has {spelled(change.then)}, the code says {spelled(change.now)}"
        for change in undecided
    )
    decisions = ", ".join(
        f"{change.name!r}: 'code' or 'checkpoint'"
        if _can_be_set(change, settable)
        else f"{change.name!r}: 'code'"
        for change in undecided
    )
    return (
        "The code sets other hyperparameters than this run was trained with. Nothing was "
        f"trained or overwritten.\n{rows}\nSay which counts, changed={{{decisions}}}; or put "
        "the value back; or name another directory for a new run."
    )


def recorded(
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changes: Sequence[HyperparameterDifference],
) -> dict[str, object]:
    """Return what the manifest records: the configured values, and the user's own in a dictionary.

    The dictionary keeps both apart, so that one of the user's names may equal an argument's.

    Args:
        now: the code's values.
        hparams: the user's own hyperparameters.
        changes: as `settle` returned them; a value that the checkpoint decides is recorded again.
    """
    kept = {change.name: change.then for change in changes if change.settled == CHECKPOINT}
    return {**now, **kept, HPARAMS: dict(hparams)}


def are_new(then: Mapping[str, object], hparams: Mapping[str, object]) -> bool:
    """Whether the user passes hyperparameters now, but the run was started without any.

    Args:
        then: the run's values, as `recorded` returned them.
        hparams: the user's own hyperparameters.
    """
    return bool(hparams) and not (
        then[HPARAMS] if HPARAMS in then else any(name in then for name in hparams)
    )


def _own(
    then: Mapping[str, object], hparams: Mapping[str, object]
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return the user's own hyperparameters of the run and of the code that can be compared."""
    own = then.get(HPARAMS)
    if isinstance(own, Mapping):
        return (own, hparams) if own else ({}, {})
    # An older checkpoint does not say which values were the user's own. Names that only one side
    # has could be arguments of an optimizer, so they are not compared.
    both = [name for name in hparams if name in then]
    return {name: then[name] for name in both}, {name: hparams[name] for name in both}


def _decision(name: str, known: Container[str], changed: Mapping[str, str]) -> str:
    """Return the user's decision for one of their own hyperparameters, or an empty string.

    If an argument has the same name, `code` for that name counts for both. `checkpoint` does not:
    only the argument's value can be set.
    """
    plain = changed.get(name, "")
    return changed.get(f"{HPARAMS}.{name}", plain if name not in known or plain == CODE else "")


def _can_be_set(change: HyperparameterDifference, settable: frozenset[str]) -> bool:
    """Whether the recorded value can be set in the program."""
    return change.name in settable and isinstance(change.then, int | float)


def spelled(value: object) -> str:
    """Return a value in the form in which messages show it."""
    return "nothing of that name" if value is ABSENT else json.dumps(value)


def _equal(then: object, now: object) -> bool:
    """Whether two values are the same JSON: 1 differs from 1.0 and from True."""
    return then is now or (
        ABSENT not in (then, now)
        and json.dumps(then, sort_keys=True) == json.dumps(now, sort_keys=True)
    )
