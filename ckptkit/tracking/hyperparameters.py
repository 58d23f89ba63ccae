"""Reads the hyperparameters that the code sets: optimizer arguments, and the user's `hparams`."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from ckptkit.errors import ConfigError
from ckptkit.tracking.tracker import optimizers_in

Hyperparameters = dict[str, object]
"""Hyperparameters by name, as values that can be written as JSON."""

_SKIPPED = frozenset({"name", "is_legacy_optimizer"})
# By optimizer object, not by name: another object in the same process is a new configuration. Weak
# references, so that an optimizer and its slots are deleted with the user's last reference.
_last_seen: weakref.WeakKeyDictionary[Any, Hyperparameters] = weakref.WeakKeyDictionary()


def configured_values(state: Mapping[str, Any]) -> dict[str, tuple[Any, str, object]]:
    """Return the configured arguments of all optimizers in the state.

    Args:
        state: the user's state, by name.

    Returns:
        By name: the optimizer, the name of its argument, and the value. With one optimizer, the
            names are plain (`learning_rate`). With several, they begin with the optimizer's name in
            the state (`g_opt.learning_rate`).
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
    # A compiled model's optimizer may also be an entry of the state; it counts once.
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
    """Return an optimizer's arguments, without those that cannot be written as JSON.

    A schedule or ReduceLROnPlateau may have changed a value since the code set it. If a value has
    not changed since `remember_optimizers`, the value that the code had configured is returned. If
    it has changed, the code has set it, and the current value is returned.

    Args:
        optimizer: a Keras optimizer.
    """
    now = _current_configuration(optimizer)
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


def _current_configuration(optimizer: Any) -> Hyperparameters:
    """Return an optimizer's arguments with their current values."""
    try:
        config = keras.optimizers.serialize(optimizer)["config"]
    # A custom optimizer may have no get_config(), or one that raises. Then its arguments cannot be
    # compared, but training must not fail because of that.
    except Exception:
        return {}
    return {
        name: shortest_decimal(value)
        for name, value in as_json(config).items()
        if name not in _SKIPPED
    }


def shortest_decimal(value: object) -> object:
    """Return 0.01 for 0.009999999776482582, and other values unchanged.

    Keras stores a learning rate in 32 bits and returns it in 64.
    """
    if not isinstance(value, float):
        return value
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return float(str(single)) if float(single) == value else value


def remember_optimizers(configured: Mapping[str, tuple[Any, str, object]]) -> None:
    """Remember the arguments of optimizers at the end of an attempt, for later ones in the process.

    Args:
        configured: the result of `configured_values` at the beginning of the attempt.
    """
    arguments: dict[int, tuple[Any, Hyperparameters]] = {}
    for optimizer, argument, value in configured.values():
        arguments.setdefault(id(optimizer), (optimizer, {}))[1][argument] = value
    for optimizer, values in arguments.values():
        _last_seen[optimizer] = {"seen": _current_configuration(optimizer), "configured": values}


def remembers_iterations(state: Mapping[str, Any], iterations: int) -> bool:
    """Return whether an earlier attempt of this process ended with this count of iterations.

    Args:
        state: the user's state, by name.
        iterations: the optimizer's count of updates.
    """
    return any(
        optimizer in _last_seen and iterations_of(optimizer) == iterations
        for optimizer, _, _ in configured_values(state).values()
    )


def iterations_of(optimizer: Any) -> int:
    """Return the number of updates that an optimizer has made.

    Args:
        optimizer: a Keras optimizer.
    """
    iterations = optimizer.iterations
    # Under a strategy, a Keras variable cannot be converted directly. With accumulated gradients,
    # it is a tensor.
    return int(getattr(iterations, "value", iterations).numpy())


def as_json(values: Mapping[str, object]) -> Hyperparameters:
    """Return values as they are after JSON, without those that the manifest cannot record.

    The manifest's encoder is stricter than Python's. A NumPy number, an enumeration or a key that
    is not a string would otherwise raise later, when training saves.
    """
    return {name: json.loads(json.dumps(value)) for name, value in values.items() if is_json(value)}


def is_json(value: object) -> bool:
    """Return whether the manifest can record a value."""
    try:
        # The manifest is UTF-8, which cannot represent a lone surrogate, such as an undecoded byte
        # of a path.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True


def check_hparams(hparams: object) -> Hyperparameters:
    """Check the user's own hyperparameters.

    Args:
        hparams: the argument as the user gave it.

    Returns:
        The values as they are after JSON, so that tuples compare equal to recorded lists.

    Raises:
        ConfigError: If they are not a dictionary of values that can be written as JSON.
    """
    if hparams is None:
        return {}
    if not isinstance(hparams, Mapping) or not all(isinstance(name, str) for name in hparams):
        raise ConfigError(
            f"hparams is a dictionary of your own hyperparameters by name. Received: {hparams!r}."
        )
    plain = {name: _plain(value) for name, value in hparams.items()}
    for name, value in plain.items():
        if not is_json(value):
            raise ConfigError(
                f"hparams[{name!r}] is recorded as JSON: numbers, strings, lists, dictionaries. "
                f"Received: {hparams[name]!r}."
            )
    return json.loads(json.dumps(plain))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    """Convert scalars of NumPy and TensorFlow to numbers, and paths to strings."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # `numpy()` of a tensor or variable returns its value as an array or scalar of NumPy.
    if callable(getattr(value, "numpy", None)):
        value = value.numpy()
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
