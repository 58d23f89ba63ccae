"""CheckpointCallback: from Keras' events to the manager."""

from __future__ import annotations

import os
from typing import Any

import keras

from ckptkit import _private
from ckptkit.errors import ConfigError
from ckptkit.keras.fit import FitRun
from ckptkit.manager import CheckpointManager
from ckptkit.policies import KeepPolicy, SavePolicy
from ckptkit.store.layout import run_layout


class CheckpointCallback(keras.callbacks.Callback):
    """Makes `model.fit` resumable: one line in a plain list of callbacks.

    Args:
        directory: the run directory; or a `CheckpointManager`, with which no other argument but `export` may be given.
        save: when to save; by default `EveryNSeconds(600) | EveryNEpochs(1, min_secs=60)`, and always at the end.
        keep: which checkpoints stay; by default `KeepLatest(2)`.
        export: whether to publish a SavedModel in `<run>/export/<version>/` when training ends; or the directory to publish in.

    Raises:
        ConfigError: where an argument cannot be right.

    Example:
        >>> import ckptkit, keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> callback = ckptkit.CheckpointCallback(new_directory, export=False)
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 1)), epochs=2, verbose=0, callbacks=[callback])
        >>> len(history.history["loss"]), ckptkit.open_run(new_directory).find("latest").step
        (2, 2)
    """

    async_safe = True  # no work at the end of batches, so Keras may go on dispatching those in the background

    def __init__(self, directory: str | os.PathLike[str] | CheckpointManager, *, save: SavePolicy | None = None,
                 keep: KeepPolicy | None = None, export: bool | str | os.PathLike[str] = True) -> None:
        super().__init__()
        self._given = directory
        self._options: dict[str, Any] = {name: value for name, value in (("save", save), ("keep", keep)) if value is not None}
        if isinstance(directory, CheckpointManager):
            if self._options:
                raise ConfigError(f"With a CheckpointManager as first argument, {', '.join(self._options)} belongs to the manager. Received "
                                  f"both: pass it to CheckpointManager(...), or pass the directory here.")
        else:
            run_layout(directory)
            for name, kind in (("save", SavePolicy), ("keep", KeepPolicy)):
                if name in self._options and not isinstance(self._options[name], kind):
                    raise ConfigError(f"{name} is a policy, such as ckptkit.EveryNEpochs(1) or ckptkit.KeepLatest(2). "
                                      f"Received: {name}={self._options[name]!r}.")
        self._export = export
        self._fit: FitRun | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Opens the run, and makes `fit` begin at the epoch where it goes on."""
        callback_list = _private.calling_callback_list(self)
        if callback_list is not None:
            # Ours comes last: what the others do at an event is then part of the state that is saved after it. Keras is iterating over
            # the old list.
            callback_list.callbacks = [*(c for c in callback_list.callbacks if c is not self), self]
        others = [c for c in callback_list.callbacks if c is not self] if callback_list is not None else []
        self._fit = FitRun(self._given, self._options, self._export, self.model, others, epochs=self.params.get("epochs", 1),
                           steps=self.params.get("steps"))
        self._fit.begin(_private.element_spec_of_fit())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which epoch has begun."""
        if self._fit is not None:
            self._fit.epoch_began(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Notes that the train function is about to be called."""
        if self._fit is not None:
            self._fit.batch_began(batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Notes what was measured."""
        if self._fit is not None:
            self._fit.epoch_ended(epoch, logs or {})

    def on_train_end(self, logs: Any = None) -> None:
        """Saves the final state, publishes the model, closes the run."""
        if self._fit is not None:
            fit, self._fit = self._fit, None
            fit.end()
