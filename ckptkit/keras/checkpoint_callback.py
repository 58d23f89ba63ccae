"""CheckpointCallback: from Keras' events to one `FitRun`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import keras

from ckptkit.compat import keras_fit
from ckptkit.errors import ConfigError
from ckptkit.export.export_spec import ExportSpec, as_spec
from ckptkit.keras import keras_callbacks
from ckptkit.keras.fit.fit_run import FitRun
from ckptkit.manager import CheckpointManager
from ckptkit.policies import KeepPolicy, SavePolicy
from ckptkit.preemption.policy import Preemption
from ckptkit.run.fresh_start import is_known_label
from ckptkit.run.stored_run import StoredRun
from ckptkit.run.verify import Depth
from ckptkit.session.options import layout_of, make_plan


class CheckpointCallback(keras.callbacks.Callback):
    """Makes `model.fit` resumable: one line in a plain list of callbacks.

    Args:
        directory: the run directory; or a `CheckpointManager`, with which no other argument but
            `export` may be given.
        save: when to save; by default `EveryNSeconds(600) | EveryNEpochs(1, min_secs=60)`, and
            always at the end.
        keep: which checkpoints stay; by default `KeepLatest(2)`.
        preemption: what is done when the process is told to stop; by default `Preemption()`.
        background: whether a save is written on a thread of its own while training goes on
            (default), or on the training thread.
        export: whether to publish a SavedModel in `<run>/export/<version>/` when training ends
            (default); or the directory to publish in; or an `ExportSpec`, for signatures, a sample,
            the best weights and more. With `CKPTKIT_EXPORT=0` in the environment nothing is
            published.
        hparams: your own hyperparameters by name; they are recorded, and compared at each start.
            They change nothing by themselves.
        changed: where the code configures another value than the run had, which counts:
            `{"learning_rate": "code"}` or `"checkpoint"`. One of your own that is called like an
            argument of the optimizer is `"hparams.learning_rate"`.
        exact: what happens where the run cannot go on bit for bit after an interruption: `"warn"`
            (default) says why, `"require"` is an error, `"off"` says nothing.
        verify: how thoroughly a checkpoint is verified before it is restored: `"full"` reads every
            byte, `"quick"` compares sizes and reads the index, `"auto"` (default) reads everything
            for as long as that takes less than a second per GB.
        fresh: a label. Under a label that is new to this run, earlier lives are moved to
            `<run>/aside/` and step 0 begins; later starts with the same label go on with the life
            that it began.
        tensorboard: the directory with the event files that the program writes, as the `log_dir` of
            `keras.callbacks.TensorBoard`. Where the run goes on, points that were written after the
            restored checkpoint are taken out of them, in all directories below; the files of before
            stay there under names that TensorBoard does not read. What cannot be done is said, and
            costs no training. Runs that one process
            trains at the same time cannot be told apart there: give each a directory of its own, as
                `"logs/<run>"`.

    Raises:
        ConfigError: where an argument cannot be right; and, from `fit`, where a hyperparameter has
            changed and nobody has said which value counts, where the run is another training or was
            finished with another model, where `exact="require"` cannot be kept, or where training
            goes over several devices or processes.
        RunLockedError: from `fit`, where another process or manager trains this run.
        IncompatibleStateError: from `fit`, where the model's state has another form than the
            checkpoint's; nothing was assigned.
        CorruptCheckpointError: from `fit`, where there is an earlier life of this run, and nothing
            of it can be read.
        StorageError: from `fit`, where the disk refuses; earlier checkpoints are untouched.
        Preempted: from `fit`, after a signal or another request to stop, with the state saved. It
            is a `SystemExit`.

    Example:
        >>> import ckptkit, keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> callback = ckptkit.CheckpointCallback(new_directory, export=False)
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 1)), epochs=2, verbose=0, callbacks=[callback])
        >>> len(history.history["loss"]), ckptkit.open_run(new_directory).find("latest").step
        (2, 2)
    """

    # no work at the end of batches, so Keras may go on dispatching those in the background
    async_safe = True

    def __init__(
        self,
        directory: str | os.PathLike[str] | CheckpointManager,
        *,
        save: SavePolicy | None = None,
        keep: KeepPolicy | None = None,
        preemption: Preemption | None = None,
        background: bool | None = None,
        export: bool | str | os.PathLike[str] | ExportSpec = True,
        hparams: Mapping[str, Any] | None = None,
        changed: Mapping[str, str] | None = None,
        exact: str | None = None,
        verify: Depth | None = None,
        fresh: str | None = None,
        tensorboard: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        options = {
            "save": save,
            "keep": keep,
            "preemption": preemption,
            "background": background,
            "hparams": hparams,
            "changed": changed,
            "exact": exact,
            "verify": verify,
            "fresh": fresh,
            "tensorboard": tensorboard,
        }
        self._options: dict[str, Any] = {
            name: value for name, value in options.items() if value is not None
        }
        if isinstance(directory, CheckpointManager):
            if self._options:
                raise ConfigError(
                    "With a CheckpointManager as first argument, its options belong to the "
                    "manager. Received both, and "
                    f"{', '.join(self._options)}: pass that to CheckpointManager(...), or pass "
                    "the directory here."
                )
        else:
            make_plan(
                directory, {}, **self._options
            )  # checks the arguments here, where the user's line is, and not in the middle of fit
        self._given = directory
        self._export = as_spec(export)
        self._fit: FitRun | None = None

    def set_params(self, params: Any) -> None:
        """Is called before training begins: the moment to keep a log file that the next event would
        empty.
        """
        super().set_params(params)
        callbacks = keras_fit.callbacks_of_coming_fit(self)
        if callbacks and self._fit is not None:
            # an exception ended the fit before this one; the other callbacks begin anew after this
            self._fit.abandon()
        if callbacks and self._goes_on():
            keras_callbacks.append(callbacks)

    def _goes_on(self) -> bool:
        run = (
            self._given.run
            if isinstance(self._given, CheckpointManager)
            else StoredRun(layout_of(self._given))
        )
        fresh = self._options.get("fresh")
        return bool(run.checkpoints) and (fresh is None or is_known_label(run.journal, fresh))

    def on_train_begin(self, logs: Any = None) -> None:
        """Opens the run, and makes `fit` begin at the epoch where it goes on.

        Raises:
            ConfigError: where it is not `fit` that calls it; and all that the class lists for
                `fit`.
        """
        call = keras_fit.fit_call(self)
        if call.callback_list is None:
            raise ConfigError(
                "CheckpointCallback goes on with model.fit, and on_train_begin was not called by "
                "one that has it in its list of "
                "callbacks. Put it into that list itself, model.fit(..., callbacks=[..., "
                "CheckpointCallback(...)]); in a training "
                "loop of your own, use ckptkit.CheckpointManager."
            )
        if self._fit is not None:
            self._fit.abandon()  # an exception ended the fit before this one
        self._fit = FitRun(
            self._given, self._options, self._export, self.model, self, call, self.params or {}
        )
        # Ours comes last: what the others do at an event is then part of the state that is saved
        # after it. Keras is iterating over
        # the old list.
        call.callback_list.callbacks = [
            *(each for each in call.callback_list.callbacks if each is not self),
            self,
        ]
        self._fit.begin()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes which epoch has begun."""
        if self._fit is not None:
            self._fit.epoch_began(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Notes that the train function is about to be called."""
        if self._fit is not None:
            self._fit.batch_began(batch)

    def on_test_begin(self, logs: Any = None) -> None:
        """Keeps the state as it is before the evaluation of an epoch."""
        if self._fit is not None:
            self._fit.evaluation_began()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Serves a request to stop between two batches of an evaluation."""
        if self._fit is not None:
            self._fit.evaluation_goes_on()

    def on_test_end(self, logs: Any = None) -> None:
        """Serves a request to stop at the end of an evaluation."""
        if self._fit is not None:
            self._fit.evaluation_ended()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Notes what was measured."""
        if self._fit is not None:
            self._fit.epoch_ended(epoch, logs or {})

    def on_train_end(self, logs: Any = None) -> None:
        """Saves the final state, publishes the model, closes the run."""
        if self._fit is not None:
            fit, self._fit = self._fit, None
            fit.end()

    def __getstate__(self) -> dict[str, Any]:
        if self._fit is not None and self._fit.is_open:
            raise ConfigError(
                "This CheckpointCallback is in use by a fit: the lock of its run, its signal "
                "handlers and its position are this "
                "process's own and cannot be copied or pickled. Copy it before fit, or make a "
                "second one."
            )
        return {**self.__dict__, "_fit": None, "_model": None, "params": None}
