"""Programs that restore one state twice: from TensorFlow's own checkpoint, and from one of ours."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import ckptkit
from ckptkit.bundle import graph_tensors
from ckptkit.writing import incremental_bundle
from tests.tracking.kinds import KINDS

WIDE = 700
"""The width with which a layer is large enough for a data file of its own."""

UNBOUND = "were not bound to checkpointed values"


def restore_all(names: list[str], directory: str, seed: int) -> dict[str, Any]:
    """Return the result of `restore_both` for each kind of state."""
    tf.config.run_functions_eagerly(True)  # nothing is traced: quicker for a few steps
    return {name: restore_both(name, f"{directory}/{name}", seed) for name in names}


def restore_both(name: str, directory: str, seed: int) -> dict[str, Any]:
    """Train a state, save it in both ways, and restore both into fresh objects.

    Returns:
        By `ours` and `theirs`, which objects have values of the checkpoint, and those values.
    """
    first = KINDS[name]()
    rng = np.random.default_rng(seed)
    for _ in range(3):
        first.train(rng)
    run, own = Path(directory) / "run", Path(directory) / "own" / "model"
    with ckptkit.CheckpointManager(run, first.state, background=False) as manager:
        manager.save(3)
    theirs = tf.train.Checkpoint(**first.state).save(str(own))
    newest = tf.train.latest_checkpoint(str(run / "checkpoints"))
    return {
        "ours": _restored(name, newest, seed),
        "theirs": _restored(name, theirs, seed),
    }


def _restored(name: str, prefix: str, seed: int) -> dict[str, Any]:
    """Restore a checkpoint with TensorFlow alone, into objects that are the same at each call."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(7)
    kind = KINDS[name]()
    kind.ready(np.random.default_rng(seed))
    before = [_bits(variable) for variable in kind.variables()]
    checkpoint = tf.train.Checkpoint(**kind.state)
    status = checkpoint.restore(prefix)
    values = [_bits(variable) for variable in kind.variables()]
    matched = _matched(status)
    changed = sum(a != b for a, b in zip(before, values, strict=True))
    return {"values": values, "matched": matched, "changed": changed, "variables": len(values)}


def _matched(status: Any) -> str:
    """Return whether TensorFlow has found values for all objects of the program."""
    try:
        status.assert_existing_objects_matched()
    except AssertionError as error:
        if UNBOUND not in str(error):
            raise
        return "not all"
    finally:
        status.expect_partial()
    return "all"


def _bits(variable: Any) -> str:
    value = np.asarray(tf.convert_to_tensor(variable))
    return (
        repr(value.tolist())
        if value.dtype == object
        else hashlib.sha256(value.tobytes()).hexdigest()
    )


# -- in `fit` and in loops


def network(width: int = 8) -> keras.Model:
    """A compiled model whose optimizer has its slots."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(width),
            keras.layers.Dense(width, name="large"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1, name="head"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(32, 4)).astype("float32"), rng.normal(size=(32, 1)).astype("float32")


def all_bits(model: keras.Model) -> dict[str, list[str]]:
    return {
        "weights": [_bits(variable) for variable in model.weights],
        "optimizer": [_bits(variable) for variable in model.optimizer.variables],
    }


def restored_by_name(prefix: str, width: int = 8) -> list[dict[str, list[str]]]:
    """Restore a model and its optimizer in the ways in which a program may name them."""
    found = []
    for named in (
        lambda model: tf.train.Checkpoint(model=model, optimizer=model.optimizer),
        lambda model: tf.train.Checkpoint(model=model),
        lambda model: tf.train.Checkpoint(model),
    ):
        model = network(width)
        status = named(model).restore(prefix)
        status.assert_existing_objects_matched()
        status.assert_consumed()
        found.append(all_bits(model))
    return found


def after_fit(directory: str, seed: int) -> dict[str, Any]:
    """Train with `fit`, whose averages replace the weights at the end."""
    model = network()
    callback = ckptkit.CheckpointCallback(directory, export=False, exact="off")
    model.fit(*rows(seed), epochs=2, verbose=0, batch_size=8, callbacks=[callback])
    newest = tf.train.latest_checkpoint(f"{directory}/checkpoints")
    keys = tf.train.load_checkpoint(newest).get_variable_to_shape_map()
    return {
        "live": all_bits(model),
        "restored": restored_by_name(newest),
        "has results": any("/result/" in key for key in keys),
    }


def with_shared_files(directory: str, seed: int) -> dict[str, Any]:
    """Save a model several times of which only the head is trained, and then more of it."""
    model = network(WIDE)
    model.get_layer("large").trainable = False
    found: dict[str, Any] = {"live": [], "restored": [], "data files": [], "encoded": 0}
    encoded = graph_tensors.graph_tensors

    def counted(*args: Any) -> Any:
        found["encoded"] += 1
        return encoded(*args)

    incremental_bundle.graph_tensors = counted
    manager = ckptkit.CheckpointManager(directory, {"model": model}, background=False)
    with manager:
        for step in range(1, 5):
            if step == 4:
                # Another structure: the graph is encoded anew.
                model.extra = tf.Variable([1.0, 2.0])
            model.train_on_batch(*rows(seed + step))
            manager.save(step)
            newest = tf.train.latest_checkpoint(f"{directory}/checkpoints")
            found["live"].append(all_bits(model))
            found["restored"].append(restored_by_name(newest, WIDE) if step < 4 else _extra(newest))
            found["data files"].append(len(list(Path(newest).parent.glob("*.data-*"))))
    return found


def _extra(prefix: str) -> list[float]:
    model = network(WIDE)
    model.extra = tf.Variable([0.0, 0.0])
    tf.train.Checkpoint(model=model).restore(prefix).assert_consumed()
    return model.extra.numpy().tolist()


def over_replicas(directory: str, seed: int) -> dict[str, Any]:
    """Train under a strategy with two replicas, and restore without one."""
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpus[0], [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = network()
    callback = ckptkit.CheckpointCallback(directory, export=False, exact="off")
    model.fit(*rows(seed), epochs=1, verbose=0, batch_size=8, callbacks=[callback])
    newest = tf.train.latest_checkpoint(f"{directory}/checkpoints")
    other = network()
    status = tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(newest)
    matched = _matched(status)
    return {"live": all_bits(model), "restored": all_bits(other), "matched": matched}
