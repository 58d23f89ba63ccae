"""What the code configures: optimizers as they were made, and what the user names."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from ckptkit.errors import ConfigError
from ckptkit.tracking.tracker import optimizers_in

Hyperparameters = dict[str, object]
"""JSON-able values by name, as they stand in the manifest."""

_SKIPPED = frozenset({"name", "is_legacy_optimizer"})
_last_seen: weakref.WeakKeyDictionary[Any, Hyperparameters] = weakref.WeakKeyDictionary()


def of_state(state: Mapping[str, Any]) -> dict[str, tuple[Any, str, object]]:
    """Every configured value of every optimizer in the state.

    Returns:
        By name: the optimizer, the name of its argument, and the value. Where there is one
        optimizer its arguments are named plainly (`learning_rate`); else the optimizer's name in
        the state stands before them (`g_opt.learning_rate`).
    """
    optimizers = [
        (
            ".".join(filter(None, (name, path.removeprefix("optimizer").removeprefix(".")))),
            optimizer,
        )
        for name, value in state.items()
        for path, optimizer in optimizers_in(value)
        if "inner_optimizer" not in path
    ]
    distinct: dict[int, tuple[str, Any]] = {}
    for name, optimizer in optimizers:
        distinct.setdefault(id(optimizer), (name, optimizer))
    found = {}
    for name, optimizer in distinct.values():
        for argument, value in configuration(optimizer).items():
            found[argument if len(distinct) == 1 else f"{name}.{argument}"] = (
                optimizer,
                argument,
                value,
            )
    return found


def configuration(optimizer: Any) -> Hyperparameters:
    """An optimizer's arguments as JSON-able values; those that cannot be serialised are left out.

    In the process that has trained with it, a schedule or ReduceLROnPlateau may have moved a value
    since the code gave it. What was last seen of the optimizer is then what counts as configured
    (see `saw`).
    """
    now = _present(optimizer)
    last = _last_seen.get(optimizer)
    if last is None:
        return now
    then, configured = last["seen"], last["configured"]
    assert isinstance(then, dict)
    assert isinstance(configured, dict)
    return {
        name: configured.get(name, value) if then.get(name) == value else value
        for name, value in now.items()
    }


def _present(optimizer: Any) -> Hyperparameters:
    """An optimizer's arguments as they are now."""
    try:
        config = keras.optimizers.serialize(optimizer)["config"]
    except (
        Exception
    ):  # a user's own optimizer without get_config() has nothing that could be compared
        return {}
    return {
        name: _as_written(value)
        for name, value in config.items()
        if name not in _SKIPPED and is_json(value)
    }


def _as_written(value: object) -> object:
    """0.01 for 0.009999999776482582: Keras keeps a learning rate in 32 bits, and gives it back in
    64.
    """
    return (
        float(str(np.float32(value)))
        if isinstance(value, float) and float(np.float32(value)) == value
        else value
    )


def saw(configured: Mapping[str, tuple[Any, str, object]]) -> None:
    """Remembers how optimizers look when an attempt ends.

    Args:
        configured: what `of_state` said when it began.
    """
    arguments: dict[int, tuple[Any, Hyperparameters]] = {}
    for optimizer, argument, value in configured.values():
        arguments.setdefault(id(optimizer), (optimizer, {}))[1][argument] = value
    for optimizer, values in arguments.values():
        _last_seen[optimizer] = {"seen": _present(optimizer), "configured": values}


def saw_iterations(state: Mapping[str, Any], iterations: int) -> bool:
    """Whether an optimizer with this many iterations is as an attempt of this process has left it."""
    return any(
        optimizer in _last_seen and int(optimizer.iterations) == iterations
        for optimizer, _, _ in of_state(state).values()
    )


def is_json(value: object) -> bool:
    """Whether a value can stand in the manifest."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def check_hparams(hparams: object) -> Hyperparameters:
    """Checks the user's own hyperparameters.

    Raises:
        ConfigError: where they are not a dictionary of values that JSON can hold.
    """
    if hparams is None:
        return {}
    if not isinstance(hparams, Mapping) or not all(isinstance(name, str) for name in hparams):
        raise ConfigError(
            f"hparams is a dictionary of your own hyperparameters by name. Received: {hparams!r}."
        )
    for name, value in hparams.items():
        if not is_json(value):
            raise ConfigError(
                f"hparams[{name!r}] is recorded as JSON: numbers, strings, lists, dictionaries. "
                f"Received: {value!r}."
            )
    return json.loads(json.dumps(dict(hparams)))  # type: ignore[no-any-return]
