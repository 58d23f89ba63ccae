"""Programs that save, change and restore each kind of state, for `test_every_variable.py`."""

from __future__ import annotations

import gc
import hashlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.support.gate import Gate
from tests.tracking.kinds import KINDS, Kind

STEPS = 3


def names() -> list[str]:
    return list(KINDS)


def save(name: str, directory: str, seed: int) -> dict[str, Any]:
    """Trains, saves, and trains on."""
    made = KINDS[name]()
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        made.train(rng)
    with ckptkit.CheckpointManager(directory, made.state) as manager:
        alive = count_alive()
        manager.save(STEPS)
        manifest = manager.run.find("latest").manifest
    ours = [entry for entry in manifest.tensors if entry.key.split("/")[0] in made.state]
    return {
        "listed": len(_once(made.variables())),
        "alive": alive,
        "saved": len({entry.key for entry in ours if entry.kind == "variable"}),
        "values": values(made),
        **_train_on(made, seed),
    }


def save_and_change(name: str, directory: str, seed: int) -> dict[str, Any]:
    """Trains, saves, and changes everything before the save is written."""
    made = KINDS[name]()
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        made.train(rng)
    gate = Gate()
    with ckptkit.CheckpointManager(directory, made.state, files=gate) as manager:
        gate.close()
        manager.save(STEPS)
        then = values(made)
        after = _train_on(made, seed)
        for variable in made.variables():
            variable.assign(tf.zeros_like(variable))
        changed = values(made)
        gate.open()
    return {"values": then, "changed": changed, **after}


def restore(name: str, directory: str, seed: int) -> dict[str, Any]:
    """Restores what `save` has saved, where Keras numbers its names otherwise, and trains on."""
    _use_up_names()
    made = KINDS[name]()
    made.ready(np.random.default_rng(seed + 2))
    manager = ckptkit.CheckpointManager(directory, made.state)
    before = values(made)
    position = manager.restore_or_initialize()
    result = {
        "step": position.step,
        "before": before,
        "values": values(made),
        **_train_on(made, seed),
    }
    manager.close()
    return result


def keys(directory: str) -> dict[str, list[list[str]]]:
    """The keys and paths of all kinds."""
    tf.config.run_functions_eagerly(True)  # nothing is traced: quicker for one step
    found = {}
    for name, build in KINDS.items():
        made = build()
        made.train(np.random.default_rng(0))
        with ckptkit.CheckpointManager(f"{directory}/{name}", made.state) as manager:
            manager.save(1)
            tensors = manager.run.find("latest").manifest.tensors
            found[name] = [
                [entry.key, entry.path]
                for entry in tensors
                if entry.key.split("/")[0] in made.state
            ]
    return found


def values(made: Kind) -> dict[str, Any]:
    """Every value, in the kind's own order, so that equal bits are equal here."""
    return {"variables": [bits(variable) for variable in made.variables()], "others": made.others()}


def bits(variable: Any) -> list[Any]:
    """Type, shape and a digest of the bytes of a variable."""
    value = tf.convert_to_tensor(variable).numpy()
    data = (
        repr(value.tolist()).encode()
        if value.dtype == object
        else np.ascontiguousarray(value).tobytes()
    )
    return [str(value.dtype), list(value.shape), hashlib.sha256(data).hexdigest()]


def count_alive() -> int:
    """Variables in this process, whoever holds them."""
    gc.collect()
    found = [
        thing
        for thing in gc.get_objects()
        if isinstance(thing, tf.Variable) and tf.is_tensor(thing.handle)
    ]
    return len({id(thing.handle) for thing in found if hasattr(thing.handle, "numpy")})


def _once(variables: list[Any]) -> set[int]:
    return {
        id(variable.value if isinstance(variable, keras.Variable) else variable)
        for variable in variables
    }


def _train_on(made: Kind, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed + 1)
    for _ in range(2):
        made.train(rng)
    return {"after": values(made)}


def _use_up_names() -> None:
    for _ in range(7):  # so that numbers of one and of two digits stand side by side
        keras.Sequential(
            [
                keras.Input((4, 4)),
                keras.layers.Dense(3),
                keras.layers.LSTM(2, recurrent_dropout=0.1),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.1),
            ]
        )
