"""Programs that train under a strategy of `tf.distribute` that is refused first of all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import ckptkit

DEVICES = ["CPU:0", "CPU:1"]


def two_devices() -> None:
    """Make two devices of the processor; only before TensorFlow has begun to compute."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )


def model(*, built: bool = True) -> Any:
    """Return a compiled model, with a layer whose statistics differ between replicas."""
    layers = [keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    made = keras.Sequential([keras.Input((2,)), *layers] if built else layers)
    made.compile("sgd", "mse")
    return made


def refusals(directory: str) -> dict[str, str]:
    """Return by case what was said, with `None` if nothing was refused or a run was made."""
    two_devices()
    mirrored = tf.distribute.MirroredStrategy(DEVICES)
    other = tf.distribute.experimental.CentralStorageStrategy(DEVICES)
    x, y = tf.ones((8, 2)), tf.ones((8, 1))

    def opened(state: Any) -> Callable[[Path], None]:
        return lambda run: _open(run, state)

    def fitted(made: Any) -> Callable[[Path], None]:
        return lambda run: made.fit(x, y, verbose=0, callbacks=[ckptkit.CheckpointCallback(run)])

    def in_scope(run: Path) -> None:
        with other.scope():
            _open(run, {"weight": plain})

    def loop(run: Path) -> None:
        with ckptkit.CheckpointManager(run, {"weight": plain}) as manager:
            list(manager.data([x], strategy=other))

    def loop_without_one(run: Path) -> None:
        with ckptkit.CheckpointManager(run, {"weight": plain}) as manager:
            list(manager.data([x], strategy="mirrored"))

    def loop_without_rows(run: Path) -> None:
        with ckptkit.CheckpointManager(run, {"weight": plain}) as manager:
            for _ in manager.epochs(1):
                list(manager.data([tf.constant(1.0)], strategy=mirrored))

    def restored(run: Path) -> None:
        ckptkit.CheckpointManager(run, {"model": spread}).restore()

    def fitted_with_manager(run: Path) -> None:
        manager = ckptkit.CheckpointManager(run, {"weight": plain})
        spread.fit(x, y, verbose=0, callbacks=[ckptkit.CheckpointCallback(manager)])

    plain = tf.Variable(1.0)
    with other.scope():
        spread, unbuilt = model(), model(built=False)
        metric, optimizer = keras.metrics.Mean(), keras.optimizers.SGD()
        module = tf.Module()
        module.weight = tf.Variable(1.0)
    dataset = mirrored.experimental_distribute_dataset(tf.data.Dataset.range(8).batch(2))
    cases: dict[str, Callable[[Path], None]] = {
        "model": opened({"model": spread}),
        "unbuilt model": opened({"model": unbuilt}),
        "metric": opened({"metric": metric}),
        "optimizer": opened({"weights": plain, "optimizer": optimizer}),
        "module in a list": opened({"parts": [plain, module]}),
        "distributed iterator": opened({"batches": iter(dataset)}),
        "scope": in_scope,
        "data": loop,
        "data without a strategy": loop_without_one,
        "data without rows": loop_without_rows,
        "restore": restored,
        "fit": fitted(spread),
        "fit of an unbuilt model": fitted(unbuilt),
        "fit with a manager": fitted_with_manager,
    }
    return {name: _refusal(case, Path(directory) / name) for name, case in cases.items()}


def _open(run: Path, state: Any) -> None:
    with ckptkit.CheckpointManager(run, state):
        pass


def _refusal(case: Callable[[Path], None], run: Path) -> str:
    try:
        case(run)
    except ckptkit.ConfigError as error:
        return f"{error}{' BUT THE RUN WAS MADE' if run.exists() else ''}"
    return "nothing"


def made_later(directory: str) -> str:
    """A metric of another strategy joins the state of an open run, and is refused at the next
    save.
    """
    two_devices()
    module = tf.Module()
    module.weight = tf.Variable(1.0)
    manager = ckptkit.CheckpointManager(directory, {"module": module}, background=False)
    try:
        with manager:
            manager.save(1)
            with tf.distribute.experimental.CentralStorageStrategy(DEVICES).scope():
                module.metric = keras.metrics.Mean()
            manager.save(2)
    except ckptkit.ConfigError as error:
        return f"{manager.all_steps} {error}"
    return "nothing"


def counts_under_a_strategy() -> dict[str, Any]:
    """Return what the counters say about an optimizer whose variables are mirrored."""
    from ckptkit.session import loop_turn
    from ckptkit.tracking import hyperparameters

    two_devices()
    with tf.distribute.MirroredStrategy(DEVICES).scope():
        made = model()
        made.optimizer.build(made.trainable_variables)
    state = {"model": made}
    hyperparameters.remember_optimizers(hyperparameters.configured_values(state))
    turn = loop_turn.begin(ckptkit.RunPosition(), loop_turn.optimizers_of(state))
    before = turn.has_trained()
    made.optimizer.iterations.assign_add(3)
    return {
        "iterations": hyperparameters.iterations_of(made.optimizer),
        "trained": [before, turn.has_trained()],
        "remembers": [hyperparameters.remembers_iterations(state, count) for count in (2, 3)],
    }


@contextmanager
def worker(index: int, ports: str) -> Iterator[tf.distribute.Strategy]:
    """Be one of two workers, which find each other without TF_CONFIG."""
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": [f"127.0.0.1:{port}" for port in ports.split(",")]}),
        task_type="worker",
        task_id=index,
        rpc_layer="grpc",
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    with strategy.scope():
        yield strategy


def idle(ports: str) -> None:
    """The second worker: joins, and then takes part in nothing."""
    with worker(1, ports):
        keras.metrics.Mean()
    print("joined", flush=True)
    sys.stdin.read()


def chief(ports: str, directory: str) -> str:
    """The first worker alone begins a `fit` with a metric, the sum over all workers."""
    with worker(0, ports):
        metric = keras.metrics.Mean()

    def open_for_fit(run: Any) -> None:
        ckptkit.CheckpointManager(run, {"metric": metric}).open_session()

    return _refusal(open_for_fit, Path(directory))
