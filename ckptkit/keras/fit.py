"""One call of `model.fit`: when its state is whole, what it is, and how it goes on.

There is one moment at which a snapshot is taken: on entry to the train function, before step s+1. By then every callback of step s, and
of an epoch's end, has run, the metrics are complete, and the next epoch's iterator exists. The end of training is the other one.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

from ckptkit import _private
from ckptkit.errors import CheckpointError
from ckptkit.export.saved_model import export_saved_model
from ckptkit.keras.callback_state import CallbackStates
from ckptkit.log import logger
from ckptkit.manager import CheckpointManager
from ckptkit.position import RunPosition
from ckptkit.save.build import unbuilt_parts
from ckptkit.store import events
from ckptkit.store.catalog import Checkpoint


class FitRun:
    """What a `CheckpointCallback` does in one `fit`.

    Args:
        given: a run directory or a manager.
        options: for the manager, where a directory was given.
        export: whether, or where, to publish the model.
        model: the model that is trained.
        others: the other callbacks.
        epochs: epochs of the whole run.
        steps: batches of an epoch, or None where they are not known.
    """

    def __init__(self, given: Any, options: dict[str, Any], export: Any, model: Any, others: list[Any], *, epochs: int,
                 steps: int | None) -> None:
        self._model = model
        self._export = export
        self._epochs = epochs
        self._steps = steps
        self._others = others
        self._callback_states: CallbackStates | None = None
        self._loaded_callbacks: dict[str, Any] = {}
        if isinstance(given, CheckpointManager):
            self._manager = given
        else:
            self._manager = CheckpointManager(given, {"model": model}, **options)
        self._attempt: Any = None
        self._checkpoint: Checkpoint | None = None
        self._batch = 0
        self._original: Any = None
        self._armed = False
        self._begun = False
        self._final: Any = None
        self._position = RunPosition()

    # -- state of its own, saved as the entry "fit"

    def get_state(self) -> dict[str, Any]:
        """What `fit` keeps beside the model: the other callbacks' state, the history among it."""
        return {"callbacks": self._callback_states.get() if self._callback_states else {}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Gives the callbacks back their state."""
        self._loaded_callbacks = state["callbacks"]

    # -- events of Keras

    def begin(self, element_spec: Any) -> None:
        """Opens the run and finds where it goes on. The state itself is assigned right before the first step: by then the other callbacks have
        done what they do at the beginning of training and of the epoch, which it overwrites.

        Args:
            element_spec: the form of the batches, or None.
        """
        self._attempt = self._manager.open_attempt({"model": self._model, "fit": self})
        self._attempt.total = self._epochs
        checkpoint = self._checkpoint = self._attempt.newest()
        if checkpoint is not None and self._is_finished(checkpoint):
            self._build(element_spec)
            self._attempt.restore(checkpoint)
            self._attempt.done = True
            _private.set_initial_epoch(self._model, self._epochs)
            logger.info("this run has finished: %s epochs are done. Nothing is trained or published. To train on, pass larger epochs (a total, as "
                        "in Keras); to begin anew, name another directory", checkpoint.manifest.epoch)
            return
        if checkpoint is not None:
            self._position = checkpoint.manifest.position
            _private.set_initial_epoch(self._model, self._position.epoch)
        self._original = self._model.train_function
        self._model.train_function = self._train_function

    def _is_finished(self, checkpoint: Checkpoint) -> bool:
        """Whether training has come to its end, and no more epochs are asked for now."""
        manifest = checkpoint.manifest
        return manifest.epoch >= self._epochs or (manifest.final and (manifest.total or 0) >= self._epochs)

    def _build(self, element_spec: Any) -> None:
        if element_spec is not None and unbuilt_parts({"model": self._model}):
            _private.build_from_spec(self._model, element_spec)

    def epoch_began(self, epoch: int) -> None:
        """An epoch begins at its first batch."""
        self._position = RunPosition(self._position.step, epoch, 0 if self._begun else self._position.batch)

    def batch_began(self, batch: int) -> None:
        """Keras is about to call the train function for the batches from `batch` on."""
        self._armed = True
        self._batch = batch

    def epoch_ended(self, epoch: int, logs: dict[str, Any]) -> None:
        """An epoch is complete; where it was the last, so is training, before Keras replaces weights by averages or by the best ones."""
        if not self._begun:
            return
        self._position = RunPosition(self._position.step, epoch + 1, 0)
        self._attempt.at(self._position, logs)
        if self._model.stop_training or epoch + 1 >= self._epochs:
            self._final = self._attempt.take()

    def end(self) -> None:
        """Training is over."""
        self._restore_model()
        if self._final is None and self._checkpoint is not None:
            self._attempt.assign_result(self._checkpoint)
            CallbackStates(self._others).set(self._loaded_callbacks)
        try:
            if self._final is not None:
                self._attempt.finish(self._final)
                if self._export:
                    self._publish()
        finally:
            self._manager.close()

    # -- inside

    def _train_function(self, iterator: Any) -> Any:
        if not self._armed:
            # An exception ended our fit, and this is a call of another one: it is not ours to count.
            self._restore_model()
            return self._original(iterator)
        self._armed = False
        try:
            if not self._begun:
                self._first_step(iterator)
            else:
                self._attempt.save_if_due()
            logs = self._original(iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self._fail(error)
            raise
        done = min(self._model.steps_per_execution, self._steps - self._batch if self._steps else self._model.steps_per_execution)
        self._position = RunPosition(self._position.step + done, self._position.epoch, self._batch + done)
        self._attempt.at(self._position, logs)
        return logs

    def _fail(self, error: BaseException) -> None:
        """`fit` is about to be left: undoes what was done to the model, and lets go of the run."""
        self._restore_model()
        self._manager.let_go(error)

    def _first_step(self, iterator: Any) -> None:
        self._callback_states = CallbackStates(self._others)
        if self._checkpoint is None:
            self._attempt.goes_on_from(None)
        else:
            self._build(iterator.element_spec)
            self._position = self._attempt.restore(self._checkpoint)
            if self._position.batch:
                self._attempt.epoch_restarted()
                self._position = self._attempt.position
            self._callback_states.set(self._loaded_callbacks)
        self._begun = True
        self._attempt.training_starts()

    def _restore_model(self) -> None:
        if self._original is not None:
            self._model.train_function = self._original
        _private.set_initial_epoch(self._model, None)

    def _publish(self) -> None:
        base = self._manager.run.layout.export if self._export is True else Path(self._export)
        began = time.monotonic()
        try:
            path = export_saved_model(self._model, base)
        except CheckpointError as error:
            self._attempt.journal.record(events.ExportFailed(error=type(error).__name__, message=str(error)))
            warnings.warn(f"{error} Training and its checkpoints are not affected.", stacklevel=2)
            return
        inside = path.is_relative_to(self._manager.run.directory)
        shown = path.relative_to(self._manager.run.directory) if inside else path
        self._attempt.journal.record(events.Exported(path=str(shown), step=self._position.step, secs=time.monotonic() - began))
        logger.info("published the model as %s", path)
