"""Programs that change their model while they train it, for `test_changed_structure.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import ckptkit
from tests.keras import trainings
from tests.keras.training_programs import die, digest

ROWS, BATCH, EPOCHS = 32, 8, 3


def _own_loss(y: Any, p: Any) -> Any:
    return keras.ops.mean(keras.ops.abs(y - p) ** 1.5, axis=-1)


def _new_optimizer() -> Any:
    return keras.optimizers.Adam(0.02, beta_1=0.8)


def _compile(model: Any, optimizer: Any = None, loss: Any = "mse", **options: Any) -> None:
    model.compile(optimizer or model.optimizer, loss, metrics=["mae"], **options)


def _lora(model: Any) -> None:
    model.get_layer("first").enable_lora(2, lora_alpha=3)
    _compile(model, _new_optimizer())


def _policy(model: Any) -> None:
    model.get_layer("first").dtype_policy = keras.DTypePolicy("mixed_bfloat16")


def _loss_weights(model: Any) -> None:
    _compile(model, loss_weights=[3.0])


def _loss(model: Any) -> None:
    _compile(model, loss=keras.losses.Huber(0.3))


def _clip(model: Any) -> None:
    model.optimizer.clipnorm = 0.001


def _rate(model: Any) -> None:
    model.get_layer("dropout").rate = 0.7


CHANGES: dict[str, Callable[[Any], None]] = {
    "lora": _lora,
    "quantize": lambda model: model.get_layer("first").quantize("int8"),
    "policy": _policy,
    "loss weights": _loss_weights,
    "loss": _loss,
    "clipnorm": _clip,
    "rate": _rate,
    "another loss": lambda model: _compile(model, loss=_own_loss),
    "no new step": lambda model: setattr(model.optimizer, "clipnorm", 0.001),
}


class _Changes(keras.callbacks.Callback):
    """Changes the model when an epoch begins, or before a batch.

    Args:
        change: what it does.
        epoch: in which epoch.
        batch: before which batch; None when the epoch begins.
        new_step: whether it lets Keras make the train function anew.
    """

    def __init__(
        self, change: Callable[[Any], None], epoch: int, batch: int | None, new_step: bool
    ) -> None:
        super().__init__()
        self._change, self._when, self._new_step = change, (epoch, batch), new_step
        self._epoch = 0

    def _change_at(self, *when: int | None) -> None:
        if when == self._when:
            self._change(self.model)
            if self._new_step:
                self.model.make_train_function(force=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._change_at(epoch, None)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._change_at(self._epoch, batch)


def made(*, declares_inputs: bool = True) -> Any:
    """Return a compiled model, whose layers exist from the beginning if it declares its inputs."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            *([keras.Input((4,))] if declares_inputs else []),
            keras.layers.Dense(6, "relu", name="first"),
            keras.layers.Dropout(0.1, name="dropout"),
            keras.layers.Dense(1, name="last"),
        ]
    )
    _compile(model, keras.optimizers.Adam(0.01))
    return model


def rows(seed: int) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).normal(size=(ROWS, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


def changed(
    run: str,
    seed: int,
    kind: str,
    kill: int = 0,
    batch: int | None = None,
    exact: str = "require",
    declares_inputs: bool = True,
) -> dict[str, Any]:
    """Trains a model that a callback changes in the second epoch.

    Args:
        run: the run directory.
        seed: of the data.
        kind: of the change.
        kill: after how many steps of this attempt it is killed; 0 for never.
        batch: after which batch of the epoch the change is made; None when it begins.
        exact: the argument.
        declares_inputs: whether the model is built from the beginning.
    """
    model = made(declares_inputs=declares_inputs)
    ours = ckptkit.CheckpointCallback(
        run, save=ckptkit.EveryNSteps(1), background=False, export=False, exact=exact
    )
    change = _Changes(CHANGES[kind], 1, batch, kind != "no new step")
    x, y = rows(seed)
    history = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[change, ours, trainings.after(kill, die)],
    )
    return {
        "weights": digest(model, model.optimizer),
        "paths": [each.path.split("/", 1)[1] for each in model.weights],
        "history": history.history,
    }


def changed_in_loop(directory: str, seed: int, kind: str, kill: int = 0) -> dict[str, Any]:
    """The same in a loop with `train_on_batch`, which makes the train function anew by itself.

    Args:
        directory: of the run.
        seed: of the data.
        kind: of the change.
        kill: after which step it is killed; 0 for never.
    """
    model = made()
    model.optimizer.build(model.trainable_variables)
    x, y = rows(seed)
    model.test_on_batch(x[:BATCH], y[:BATCH])
    losses = []
    manager = ckptkit.CheckpointManager(
        directory,
        state={"model": model},
        save=ckptkit.EveryNSteps(1),
        background=False,
        exact="require",
    )
    with manager:
        for step in manager.steps(9):
            if step == 4:
                CHANGES[kind](model)
                model.make_train_function(force=True)
            start = step % 4 * BATCH
            batch = slice(start, start + BATCH)
            losses.append(float(model.train_on_batch(x[batch], y[batch], return_dict=True)["loss"]))
            if step == kill:
                die()
    return {"weights": digest(model, model.optimizer), "last": losses[-1]}
