"""What `saves.py` measures: a model to train, and every way of saving it that is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

LAYERS = 20
BATCH = 64


# -- what is trained


def make_model(megabytes: int) -> Any:
    import keras

    width = int(
        (megabytes * 1e6 / 4 / 3 / LAYERS) ** 0.5
    )  # Adam keeps two further values for each weight
    model = keras.Sequential(
        [
            keras.Input((width,)),
            *(keras.layers.Dense(width, kernel_initializer="zeros") for _ in range(LAYERS)),
        ]
    )
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def make_step(model: Any) -> Callable[[], Any]:
    import tensorflow as tf

    x = tf.random.normal((BATCH, model.input_shape[1]))

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - x) ** 2)
        model.optimizer.apply(
            tape.gradient(loss, model.trainable_variables), model.trainable_variables
        )
        return loss

    return cast(Callable[[], Any], step)


def state_bytes(model: Any) -> int:
    import numpy as np

    return sum(
        np.asarray(variable.value).nbytes
        for variable in (*model.variables, *model.optimizer.variables)
    )


# -- the contestants: each has `save()`, which returns when training may go on, and `wait()`, which
# returns when the save is complete


class Ours:
    name = "ckptkit"

    def __init__(self, model: Any, directory: Path) -> None:
        import ckptkit

        self._manager = ckptkit.CheckpointManager(
            directory, {"model": model}, save=ckptkit.EveryNSteps(1)
        )
        self._manager.restore_or_initialize()
        self._step = 0
        self.wait = self._manager.wait_until_finished
        self.close = self._manager.close

    def save(self) -> None:
        self._step += 1
        self._manager.save(self._step)

    def save_by_policy(self) -> None:
        """What cannot be written in time gives way to a newer one."""
        self._step += 1
        self._manager.maybe_save(self._step)


class TensorFlows:
    name = "tf.train.CheckpointManager"

    def __init__(self, model: Any, directory: Path) -> None:
        import tensorflow as tf

        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(model=model), str(directory), max_to_keep=2
        )

    def save(self) -> None:
        self._manager.save()

    save_by_policy = save

    def wait(self) -> None:
        return None

    close = wait


class OfKeras:
    """A callback of Keras that saves after each batch."""

    def __init__(self, model: Any, callback: Any) -> None:
        self._callback = callback
        callback.set_model(model)
        callback.set_params({"epochs": 1, "steps": None})
        callback.on_train_begin()
        callback.on_epoch_begin(0)
        self._step = 0

    def save(self) -> None:
        self._step += 1
        self._callback.on_train_batch_end(self._step, {"loss": 1.0})

    def wait(self) -> None:
        if hasattr(self._callback, "wait_until_finished"):
            self._callback.wait_until_finished()

    close = wait


class Backup(OfKeras):
    name = "BackupAndRestore"

    def __init__(self, model: Any, directory: Path) -> None:
        import keras

        super().__init__(model, keras.callbacks.BackupAndRestore(directory, save_freq=1))


class Checkpoint(OfKeras):
    name = "ModelCheckpoint"

    def __init__(self, model: Any, directory: Path) -> None:
        import keras

        super().__init__(
            model, keras.callbacks.ModelCheckpoint(str(directory / "model.keras"), save_freq=1)
        )


class Orbax(OfKeras):
    name = "OrbaxCheckpoint"

    def __init__(self, model: Any, directory: Path) -> None:
        import keras

        super().__init__(
            model, keras.callbacks.OrbaxCheckpoint(directory, save_freq=1, max_to_keep=2)
        )


class Held:
    """Keeps the values and writes nothing: the memory that TensorFlow needs so that training can go
    on beside a copy of them.
    """

    name = "held"

    def __init__(self, model: Any, directory: Path) -> None:
        self._variables = [
            variable.value for variable in (*model.variables, *model.optimizer.variables)
        ]
        self._values: list[Any] = []

    def save(self) -> None:
        self._values = [variable.read_value() for variable in self._variables]

    def wait(self) -> None:
        self._values = []

    close = wait


KINDS = (Ours, TensorFlows, Backup, Checkpoint, Orbax)


def contestants(model: Any, base: Path) -> list[Any]:
    """All that are installed, each saving the model into a directory of its own."""
    found = []
    for kind in KINDS:
        directory = base / kind.name
        directory.mkdir()
        try:
            found.append(kind(model, directory))
        except (ImportError, AttributeError) as error:
            print(f"({kind.name} is not here: {str(error).splitlines()[0]})")
    return found
