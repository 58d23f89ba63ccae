"""The public `CheckpointCallback`, which passes Keras' events to a `FitEvents`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Unpack

import keras

from ckptkit.compat import keras_fit
from ckptkit.errors import ConfigError
from ckptkit.export.export_spec import ExportSpec, as_spec, is_switched_off
from ckptkit.keras import csv_rows
from ckptkit.keras.fit.fit_event_dispatch import FitEvents
from ckptkit.keras.fit.fit_opening import open_fit
from ckptkit.keras.open_bar_line import OpenBarLine
from ckptkit.keras.trial_directory import trial_directory
from ckptkit.keras.user_callbacks import OtherCallbacks
from ckptkit.manager import CheckpointManager
from ckptkit.policies import KeepBest
from ckptkit.run.fresh_start import is_known_label
from ckptkit.run.stored_run import StoredRun
from ckptkit.session.options import (
    DEFAULT_KEEP,
    CallbackOptions,
    layout_of,
    make_options,
    takes_options,
    with_absolute_paths,
)


@takes_options(CallbackOptions)
class CheckpointCallback(keras.callbacks.Callback):
    """Makes `model.fit` resumable: one line in a plain list of callbacks.

    Args:
        directory: the run directory; or the URL of a place on an object store, such as
            `"s3://bucket/runs/x"`, with a cache below `CKPTKIT_CACHE` or `~/.cache/ckptkit`; or a
            `CheckpointManager`, and then only `export` may be given as well. `{trial}` in a
            directory, as in `"runs/{trial}"`, gives each training with a copy of this callback its
            own run: the id of Keras Tuner's trial, or a digest of the model's settings, the
            arguments of `compile`, and the data.
        export: True (default) publishes a SavedModel in `<run>/export/<version>/` when training
            ends; False publishes nothing. A path names another directory. An `ExportSpec` sets
            signatures, a sample, the best weights and more. With `CKPTKIT_EXPORT=0` in the
            environment nothing is published.
        {options}

    Raises:
        ConfigError: If an argument is invalid. From `fit`: if a hyperparameter has changed and
            `changed` does not name it, if the run is another training or was finished with another
            model, if `exact="require"` cannot be satisfied, or if training uses several devices or
            processes.
        RunLockedError: From `fit`, if another process or manager trains this run.
        IncompatibleStateError: From `fit`, if the model's state does not match the checkpoint;
            nothing was assigned.
        CorruptCheckpointError: From `fit`, if the run has earlier checkpoints, but none of them can
            be read.
        StorageError: From `fit`, if the disk refuses; earlier checkpoints are untouched.
        Preempted: From `fit`, after a signal or another request to stop, with the state saved. It
            is a `SystemExit`.

    Example:
        >>> import ckptkit, keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> callback = ckptkit.CheckpointCallback("runs/new", export=False)
        >>> x, y = np.ones((8, 4)), np.ones((8, 1))
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        >>> len(history.history["loss"]), ckptkit.open_run("runs/new").find("latest").step
        (2, 2)
    """

    # This callback does no work at the end of batches, unless another one has stopped training. The
    # flag lets Keras dispatch these events in the background.
    async_safe = True

    def __init__(
        self,
        directory: str | os.PathLike[str] | CheckpointManager,
        *,
        export: bool | str | os.PathLike[str] | ExportSpec = True,
        **options: Unpack[CallbackOptions],
    ) -> None:
        super().__init__()
        self._options: dict[str, Any] = {
            name: value for name, value in options.items() if value is not None
        }
        self._export = as_spec(export)
        if isinstance(directory, CheckpointManager):
            if self._options:
                raise ConfigError(
                    f"If the first argument is a CheckpointManager, all options belong to the "
                    f"manager. Received a manager and also {', '.join(self._options)}: pass these "
                    f"options to CheckpointManager(...), or pass the directory here."
                )
        else:
            if self._export and self._export.weights == "best" and "keep" not in self._options:
                # The checkpoint to publish must still be there at the end of training.
                monitor = self._export.monitor or "val_loss"
                self._options["keep"] = DEFAULT_KEEP | KeepBest(monitor, self._export.mode)
            # Checks the arguments here, so that an error points to the user's line and not into
            # fit.
            checked = make_options(directory, {}, **self._options)
            # Made absolute now, because the program may change its working directory before fit.
            directory = checked.layout.root
            if checked.mirror is not None:  # which the directory may have named
                self._options["mirror"] = checked.mirror
            self._options = with_absolute_paths(self._options)
        self._given = directory
        self._fit: FitEvents | None = None
        self._line: OpenBarLine | None = None

    def __repr__(self) -> str:
        given = self._given if isinstance(self._given, CheckpointManager) else str(self._given)
        options = "".join(f", {name}={value!r}" for name, value in self._options.items())
        return f"CheckpointCallback({given!r}{options})"

    def set_params(self, params: Any) -> None:
        """Prevent a `CSVLogger` from emptying the file that a resumed training continues.

        Keras calls this before `on_train_begin`, in which `CSVLogger` would empty its file.
        """
        super().set_params(params)
        callbacks = keras_fit.callbacks_of_coming_fit(self)
        if callbacks and self._fit is not None:
            # An exception has ended the previous fit. The other callbacks are reset after this.
            self._fit.abandon()
        if csv_rows.has_csv_files(callbacks) and self._will_resume(
            callbacks, keras_fit.fit_call(self)
        ):
            csv_rows.keep_csv_files(callbacks)

    def _will_resume(self, callbacks: list[Any], call: keras_fit.FitCall) -> bool:
        run = (
            self._given.run
            if isinstance(self._given, CheckpointManager)
            else StoredRun(layout_of(self._directory(self._given, callbacks, call)))
        )
        fresh = self._options.get("fresh")
        return bool(run.checkpoints) and (fresh is None or is_known_label(run.layout, fresh))

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the run, and prepare `fit` to continue from the newest good checkpoint.

        Raises:
            ConfigError: If the caller is not `fit`. Also all errors that the class lists for `fit`.
        """
        call = keras_fit.fit_call(self)
        if call.callback_list is None:
            raise ConfigError(
                "CheckpointCallback works in model.fit, but something else has called "
                "on_train_begin. Pass it to fit itself, as in model.fit(..., callbacks=[..., "
                "CheckpointCallback(...)]). In a custom training loop, use "
                "ckptkit.CheckpointManager."
            )
        if self._fit is not None:
            # An exception has ended the previous fit.
            self._fit.abandon()
            self._fit = None
        _check_only_one(call.callback_list.callbacks)
        _check_no_backup(call.callback_list.callbacks)
        others = OtherCallbacks(call.callback_list, self)
        self._line = OpenBarLine(others)
        manager = (
            self._given
            if isinstance(self._given, CheckpointManager)
            else CheckpointManager(
                self._directory(self._given, call.callback_list.callbacks, call),
                {"model": self.model},
                **self._options,
            )
        )
        others.put_first()
        export = None if is_switched_off(os.environ) else self._export
        self._fit = open_fit(manager, export, self.model, others, call, self.params or {})

    def _directory(
        self, given: str | os.PathLike[str], callbacks: list[Any], call: keras_fit.FitCall
    ) -> Path:
        """Return the run directory of the `fit` that is about to begin."""
        return trial_directory(Path(given), callbacks, self.model, call)

    def _directory_text(self) -> str:
        given = self._given
        return str(given.run.directory if isinstance(given, CheckpointManager) else given)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note which epoch has begun."""
        if self._fit is not None:
            self._fit.epoch_began(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Note that Keras is about to call the train function."""
        if self._fit is not None:
            self._fit.batch_began(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take a snapshot if training was stopped in the middle of an epoch."""
        # The attribute first: this is called after each batch.
        if self.model.stop_training and self._fit is not None:
            self._fit.batch_ended()

    def on_test_begin(self, logs: Any = None) -> None:
        """Take a snapshot before the evaluation of an epoch."""
        if self._fit is not None:
            self._fit.evaluation_began()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Serve a request to stop between two batches of an evaluation."""
        if self._fit is not None:
            self._fit.evaluation_batch_began()

    def on_test_end(self, logs: Any = None) -> None:
        """Serve a request to stop at the end of an evaluation."""
        if self._fit is not None:
            self._fit.evaluation_ended()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note the metrics of the epoch; after the last epoch, take the final snapshot."""
        if self._line is not None:
            self._line.epoch_ended()
        if self._fit is not None:
            self._fit.epoch_ended(epoch, logs or {})

    def on_train_end(self, logs: Any = None) -> None:
        """Save the final state, publish the model, and close the run."""
        if self._fit is not None:
            fit, self._fit = self._fit, None
            fit.training_ended()

    def __getstate__(self) -> dict[str, Any]:
        if self._fit is not None and self._fit.is_open:
            raise ConfigError(
                "This CheckpointCallback is in use by a fit. The lock of its run, its signal "
                "handlers and its position belong to this process and cannot be copied or "
                "pickled. Copy it before fit, or create a second one."
            )
        return {**self.__dict__, "_fit": None, "_line": None, "_model": None, "params": None}


def _check_only_one(callbacks: list[Any]) -> None:
    """Check that a `fit` has only one `CheckpointCallback`.

    Raises:
        ConfigError: If there are several. Each one would hide the other during its replay.
    """
    ours = {id(each): each for each in callbacks if isinstance(each, CheckpointCallback)}
    if len(ours) > 1:
        directories = ", ".join(each._directory_text() for each in ours.values())
        raise ConfigError(
            f"Expected one CheckpointCallback in fit: one run records a training. Received: "
            f"{len(ours)}, for {directories}. Keep one of them; to keep other checkpoints "
            "too, combine policies: keep=ckptkit.KeepLatest(2) | ckptkit.KeepBest('val_loss')."
        )


def _check_no_backup(callbacks: list[Any]) -> None:
    """Check that a `fit` has no `BackupAndRestore`, which would also resume the run.

    Raises:
        ConfigError: If it has one.
    """
    if any(isinstance(each, keras.callbacks.BackupAndRestore) for each in callbacks):
        raise ConfigError(
            "keras.callbacks.BackupAndRestore and CheckpointCallback would both resume this "
            "run, from different positions. Delete BackupAndRestore(...) from callbacks: "
            "CheckpointCallback does its work."
        )
