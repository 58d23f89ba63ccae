"""Changed hyperparameters are said, not guessed: pure comparison of what a run had with what the code says now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ckptkit.errors import ConfigError

CODE, CHECKPOINT = "code", "checkpoint"


@dataclass(frozen=True)
class Change:
    """A hyperparameter that the code gives another value than the run had.

    Args:
        name: its name.
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
    if not isinstance(changed, Mapping) or not all(decision in (CODE, CHECKPOINT) for decision in changed.values()):
        raise ConfigError(f"changed says for a hyperparameter which value counts, as in changed={{'learning_rate': 'code'}}; 'code' or "
                          f"'checkpoint'. Received: changed={changed!r}.")
    return dict(changed)


def settle(then: Mapping[str, object], now: Mapping[str, object], changed: Mapping[str, str], settable: frozenset[str]) -> list[Change]:
    """All changes, each settled.

    Args:
        then: what the run had.
        now: what the code says.
        changed: the user's decisions.
        settable: names whose value of then can be put into effect again.

    Raises:
        ConfigError: where a change is not settled, with name, then and now.
    """
    differing = [name for name in then if name in now and not _equal(then[name], now[name])]
    open_ones = [name for name in differing if name not in changed]
    if open_ones:
        rows = "\n".join(f"  {name}: the run has {json.dumps(then[name])}, the code says {json.dumps(now[name])}" for name in open_ones)
        decisions = ", ".join(f"{name!r}: 'code' or 'checkpoint'" for name in open_ones)
        raise ConfigError(f"The code configures this run otherwise than it was begun. Nothing was trained or overwritten.\n{rows}\nSay which "
                          f"counts, changed={{{decisions}}}; or put the value back; or name another directory for a new run.")
    stuck = [name for name in differing if changed[name] == CHECKPOINT and name not in settable]
    if stuck:
        raise ConfigError(f"{', '.join(stuck)} cannot be taken from the checkpoint: only your code can set it. Put the value back in the code, "
                          f"or say changed={{{stuck[0]!r}: 'code'}}.")
    return [Change(name, then[name], now[name], changed[name]) for name in differing]


def _equal(then: object, now: object) -> bool:
    return json.dumps(then, sort_keys=True) == json.dumps(now, sort_keys=True)
