"""Compares the hyperparameters of a run with those of the code. Pure.

A change is never resolved silently: the user decides for each name which value counts.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from ckptkit.errors import ConfigError

CODE, CHECKPOINT = "code", "checkpoint"

HPARAMS = "hparams"
"""The manifest's key for the user's own hyperparameters.

It is also a prefix for one of their names if an optimizer's argument has the same name.
"""

ABSENT = object()
"""The value that means: only the other side has this hyperparameter or layer setting."""

_MANY_LAYERS = 4
"""The number of layers with the same change from which a message shows only one line."""

_LONGEST_VALUE = 200


@dataclass(frozen=True)
class HyperparameterDifference:
    """A hyperparameter whose value in the code differs from the run's.

    Args:
        name: its name, with the prefix `hparams.` for a user's own hyperparameter if an optimizer's
            argument has the same name.
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
        ConfigError: If it is not a dictionary of names and decisions.
    """
    if changed is None:
        return {}
    if not isinstance(changed, Mapping) or not all(
        decision in (CODE, CHECKPOINT) for decision in changed.values()
    ):
        raise ConfigError(
            "changed says for each hyperparameter whether the value of the 'code' or of the "
            f"'checkpoint' counts, as in changed={{'learning_rate': 'code'}}. Received: "
            f"changed={changed!r}."
        )
    return dict(changed)


def unknown_names(
    then: Mapping[str, object],
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changed: Mapping[str, str],
    layers: frozenset[str] = frozenset(),
) -> tuple[list[str], list[str]]:
    """Return the names in `changed` that do not exist, and all valid names.

    Args:
        then, now, hparams, changed, layers: see `settle`.
    """
    own_then, own_now = _own(then, hparams)
    own = {**hparams, **own_then, **own_now}
    known = {name for name in (*then, *now) if name != HPARAMS} | own.keys()
    decidable = known | {f"{HPARAMS}.{name}" for name in own}
    named = sorted(known - layers)
    if layers:
        named.append(
            "settings of layers, such as " + min(layers, key=lambda name: (len(name), name))
        )
    return [name for name in changed if name not in decidable | layers], named


def settle(
    then: Mapping[str, object],
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changed: Mapping[str, str],
    settable: frozenset[str],
    layers: frozenset[str] = frozenset(),
) -> list[HyperparameterDifference]:
    """Return all changed hyperparameters, each with the user's decision.

    Args:
        then: the run's values, as `recorded` returned them.
        now: the code's values: arguments of optimizers, loss, batch size.
        hparams: the user's own hyperparameters.
        changed: the user's decisions by name.
        settable: names whose recorded value can be set: arguments of optimizers that are numbers.
        layers: names of settings of layers; those that changed are in `then` and `now`.

    Raises:
        ConfigError: If a change has no decision; the message has the name, the recorded and the
            current value.
    """
    differing = [
        change
        for change in _pairs(then, now, hparams, changed)
        if not _equal(change.then, change.now)
    ]
    undecided = [change for change in differing if not change.settled]
    if undecided:
        raise ConfigError(_question(undecided, settable, layers))
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
    """Return all pairs of values that can be compared; see `settle` for the arguments."""
    own_then, own_now = _own(then, hparams)
    # An older checkpoint has no HPARAMS and mixes the user's own names with the rest.
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


def _grouped(
    changes: Sequence[HyperparameterDifference], layers: frozenset[str]
) -> list[tuple[HyperparameterDifference, int]]:
    """Group equal changes of many layers into one with the prefix `*.`, and count them.

    Args:
        changes: the changes.
        layers: names of settings of layers.
    """
    same: dict[tuple[str, str, str], list[HyperparameterDifference]] = {}
    for change in changes:
        setting = change.name.rpartition(".")[2] if change.name in layers else ""
        same.setdefault(
            (setting or change.name, spelled(change.then), spelled(change.now)), []
        ).append(change)
    grouped = []
    for (name, _, _), group in same.items():
        if len(group) < _MANY_LAYERS:
            grouped += [(change, 1) for change in group]
        else:
            grouped.append((replace(group[0], name=f"*.{name}"), len(group)))
    return grouped


def _shortened(text: str) -> str:
    """Return a value as short text for a message, because a vocabulary may have a million words."""
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _question(
    undecided: Sequence[HyperparameterDifference],
    settable: frozenset[str],
    layers: frozenset[str],
) -> str:
    """Return the message that asks the user for decisions."""
    rows = "\n".join(
        f"  {change.name}{f' ({count} layers)' if count > 1 else ''}: the run has "
        f"{_shortened(spelled(change.then))}, the code says {_shortened(spelled(change.now))}"
        for change, count in _grouped(undecided, layers)
    )
    decisions = ", ".join(
        f"{change.name!r}: 'code' or 'checkpoint'"
        if _can_be_set(change, settable)
        else f"{change.name!r}: 'code'"
        for change, _ in _grouped(undecided, layers)
    )
    return (
        "The hyperparameters in the code differ from those of this run. Nothing was trained or "
        f"overwritten.\n{rows}\nChoose the value that counts, changed={{{decisions}}}; or restore "
        "the value in the code; or name another directory for a new run."
    )


def recorded(
    now: Mapping[str, object],
    hparams: Mapping[str, object],
    changes: Sequence[HyperparameterDifference],
) -> dict[str, object]:
    """Return the hyperparameters as the manifest records them.

    The user's own are in a separate dictionary, so that their names may equal names of arguments.

    Args:
        now: the code's values.
        hparams: the user's own hyperparameters.
        changes: the result of `settle`; if the checkpoint's value counts, that value is recorded
            again.
    """
    kept = {change.name: change.then for change in changes if change.settled == CHECKPOINT}
    return {**now, **kept, HPARAMS: dict(hparams)}


def are_new(then: Mapping[str, object], hparams: Mapping[str, object]) -> bool:
    """Return whether the user passes `hparams` now but the run was started without any.

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
    """Return the pairs of the user's own hyperparameters that can be compared."""
    own = then.get(HPARAMS)
    if isinstance(own, Mapping):
        return (own, hparams) if own else ({}, {})
    # An older checkpoint does not say which values are the user's own. A name that only one side
    # has could be an optimizer's argument, so it is not compared.
    both = [name for name in hparams if name in then]
    return {name: then[name] for name in both}, {name: hparams[name] for name in both}


def _decision(name: str, known: Container[str], changed: Mapping[str, str]) -> str:
    """Return the user's decision for one of their own hyperparameters, or an empty string.

    If an optimizer's argument has the same name, the decision `code` counts for both. The decision
    `checkpoint` counts only for the argument, because only its value can be set.
    """
    plain = changed.get(name, "")
    return changed.get(f"{HPARAMS}.{name}", plain if name not in known or plain == CODE else "")


def _can_be_set(change: HyperparameterDifference, settable: frozenset[str]) -> bool:
    """Return whether the recorded value can be set in the program."""
    return change.name in settable and isinstance(change.then, int | float)


def spelled(value: object) -> str:
    """Return a value as text for messages."""
    return "nothing of that name" if value is ABSENT else json.dumps(value)


def _equal(then: object, now: object) -> bool:
    """Return whether two values are the same JSON: 1 differs from 1.0 and from True."""
    return then is now or (
        ABSENT not in (then, now)
        and json.dumps(then, sort_keys=True) == json.dumps(now, sort_keys=True)
    )
