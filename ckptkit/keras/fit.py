"""One call of `model.fit`: when its state is whole, what it is, and how it goes on.

There is one moment at which a snapshot is taken: on entry to the train function, before step s+1. By then every callback of step s, and
of an epoch's end, has run, the metrics are complete, and the next epoch's iterator exists. The end of training is the other one. Only a
request to stop that comes during an evaluation is answered with the state from before that evaluation.
"""

from __future__ import annotations

import sys
import time
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from ckptkit import _private
from ckptkit.errors import CheckpointError, ConfigError
from ckptkit.export.saved_model import export_saved_model
from ckptkit.keras import beside
from ckptkit.keras.callback_state import CallbackStates
from ckptkit.keras.identity import check_same_phase, finished_by, note_finished
from ckptkit.log import logger
from ckptkit.manager import CheckpointManager
from ckptkit.manager.attempt import Attempt, Taken
from ckptkit.position import RunPosition
from ckptkit.save.build import unbuilt_parts
from ckptkit.save.hyperparameters import is_json
from ckptkit.store import events
from ckptkit.store.catalog import Checkpoint
from ckptkit.store.fresh import this_life


class FitRun:
    """What a `CheckpointCallback` does in one `fit`.

    Args:
        given: a run directory or a manager.
        options: for the manager, where a directory was given.
        export: whether, or where, to publish the model.
        model: the model that is trained.
        others: the other callbacks.
        call: what the `fit` has in hand.
        params: what Keras tells callbacks: `epochs`, of the whole run, and `steps`, batches of an epoch, or None.
    """

    def __init__(self, given: Any, options: Mapping[str, Any], export: Any, model: Any, others: list[Any], call: _private.FitCall,
                 params: Mapping[str, Any]) -> None:
        beside.check_others(others)
        self._model = model
        self._export = export
        self._others = others
        self._call = call
        self._epochs = params.get("epochs", 1)
        self._steps = params.get("steps")
        self._manager = given if isinstance(given, CheckpointManager) else CheckpointManager(given, {"model": model}, **options)
        self._attempt: Attempt
        self._checkpoint: Checkpoint | None = None
        self._callback_states: CallbackStates | None = None
        self._loaded_callbacks: dict[str, Any] = {}
        self._original: Any = None
        self._armed = False  # Keras has told us that a train batch begins: the next call of the train function is ours
        self._begun = False  # the first step of this attempt has been made
        self._batch = 0
        self._position = RunPosition()
        self._before_evaluation: Taken | None = None
        self._final: Taken | None = None
        self._publish_later = False
        self._hook: Any = None

    # -- state of its own, saved as the entry "fit"

    def get_state(self) -> dict[str, Any]:
        """What `fit` keeps beside the model: the other callbacks' state, the history among it."""
        return {"callbacks": self._callback_states.get() if self._callback_states else {}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes the callbacks' state; it is given back to them when they are where they were."""
        self._loaded_callbacks = state["callbacks"]

    # -- from the beginning to the end

    @property
    def is_open(self) -> bool:
        """Whether the run is open."""
        return self._manager.is_open

    def begin(self) -> None:
        """Opens the run and finds where it goes on. The state itself is assigned right before the first step: by then the other
        callbacks have done what they do at the beginning of training and of the epoch, which it overwrites.
        """
        self._attempt = self._manager.open_attempt({"model": self._model, "fit": self})
        self._attempt.total = self._epochs
        try:
            self._find_the_place()
        except BaseException as error:
            self._leave(error)
            raise
        self._watch_for_errors()

    def _find_the_place(self) -> None:
        checkpoint = self._checkpoint = self._attempt.newest()
        if checkpoint is not None:
            finished_by(self._manager.run.layout, self._model)
            check_same_phase(checkpoint, self._model)
        self._attempt.check_hyperparameters(checkpoint, self._configured())
        if checkpoint is None:
            self._position = RunPosition(epoch=self._call.initial_epoch)
        else:
            self._say_other_counts(checkpoint)
            if self._is_finished(checkpoint):
                self._already_finished(checkpoint)
                return
            self._position = checkpoint.manifest.position
            _private.set_initial_epoch(self._model, self._position.epoch)
        self._original = self._model.train_function
        self._model.train_function = self._train_function
        self._attempt.phase = "tracing"

    def _configured(self) -> dict[str, object]:
        """What `compile` and `fit` were given, beside the optimizer."""
        loss = getattr(self._model, "loss", None)
        if callable(loss):
            loss = keras.losses.serialize(loss) if isinstance(loss, keras.losses.Loss) else getattr(loss, "__name__", None)
        values = {"loss": loss, "batch_size": self._call.batch_size}
        return {name: value for name, value in values.items() if value is not None and is_json(value)}

    def _say_other_counts(self, checkpoint: Checkpoint) -> None:
        """Two places to go on from must not silently become one."""
        epoch = checkpoint.manifest.epoch
        if self._call.initial_epoch not in (0, epoch):
            logger.warning("initial_epoch=%d was given to fit, and the checkpoint is at epoch %d: the checkpoint counts",
                           self._call.initial_epoch, epoch)
        optimizer = getattr(self._model, "optimizer", None)
        iterations = int(optimizer.iterations) if isinstance(optimizer, keras.optimizers.Optimizer) else 0
        if iterations and not self._attempt.saw_iterations(iterations):
            logger.warning("the optimizer has done %d iterations before this fit, and the checkpoint is at step %d: the checkpoint counts, and "
                           "the model's values are overwritten by its", iterations, checkpoint.step)

    def _is_finished(self, checkpoint: Checkpoint) -> bool:
        """Whether training has come to its end, and no more epochs are asked for now."""
        manifest = checkpoint.manifest
        return manifest.epoch >= self._epochs or (manifest.final and (manifest.total or 0) >= self._epochs)

    def _already_finished(self, checkpoint: Checkpoint) -> None:
        self._build(self._call.element_spec)
        self._position = self._attempt.restore(checkpoint)
        self._attempt.done = True
        _private.set_initial_epoch(self._model, max(self._epochs, self._position.epoch))
        life = this_life(self._manager.run.journal)
        self._publish_later = bool(self._export) and checkpoint.manifest.final and not any(
            isinstance(event, events.Exported) and event.step == checkpoint.step for event in life)
        logger.info("this run has finished: %d epochs are done, nothing is trained. To train on, pass larger epochs (a total, as in Keras); for "
                    "another run, pass fresh='a label' or name another directory", checkpoint.manifest.epoch)

    def end(self) -> None:
        """Training is over."""
        self._undo()
        error: BaseException | None = None
        try:
            if self._final is not None:
                self._attempt.finish(self._final)
            elif self._checkpoint is not None:
                self._attempt.assign_result(self._checkpoint)
                CallbackStates(self._others).set(self._loaded_callbacks)
            note_finished(self._manager.run.layout, self._model)
            # An interrupted run publishes nothing; the next start does.
            self._attempt.serve_stop(leave=self._flush)
            if self._export and (self._final is not None or self._publish_later):
                self._publish()
            self._attempt.serve_stop(leave=self._flush)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._manager.let_go(error)

    def abandon(self) -> None:
        """The `fit` was left by an exception that did not pass through us."""
        if self._manager.is_open:
            self._leave(RuntimeError("fit was left before its end, by an exception outside of the training step"))

    def _leave(self, error: BaseException) -> None:
        self._undo()
        self._manager.let_go(error)

    def _undo(self) -> None:
        """Puts back what was changed in the model and the interpreter."""
        if self._original is not None and self._model.train_function == self._train_function:
            self._model.train_function = self._original
        _private.set_initial_epoch(self._model, None)
        if self._hook is not None and sys.excepthook == self._on_uncaught:
            sys.excepthook = self._hook
        self._hook = None

    def _watch_for_errors(self) -> None:
        """Notices an exception that ends `fit` elsewhere than in a step: one that ends the program, and one that somebody catches."""
        self._hook, sys.excepthook = sys.excepthook, self._on_uncaught
        if self._call.callback_list is not None:
            # Nobody but the fit holds its list of callbacks, so the list goes when the fit does.
            weakref.finalize(self._call.callback_list, _abandon, weakref.ref(self)).atexit = False
            self._call = _private.FitCall(None, self._call.initial_epoch, self._call.batch_size, self._call.element_spec)

    def _on_uncaught(self, kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        hook = self._hook
        if self._manager.is_open:
            self._leave(error)
        (hook or sys.__excepthook__)(kind, error, traceback)

    def _flush(self) -> None:
        self._undo()
        beside.flush(self._others)

    # -- events of Keras

    def epoch_began(self, epoch: int) -> None:
        """An epoch begins at its first batch."""
        self._position = RunPosition(self._position.step, epoch, 0 if self._begun else self._position.batch)

    def batch_began(self, batch: int) -> None:
        """Keras is about to call the train function for the batches from `batch` on."""
        self._armed = True
        self._batch = batch

    def evaluation_began(self) -> None:
        """An epoch's evaluation begins; the state of before it is what a request to stop inside it will save."""
        if self._begun:
            self._attempt.phase = "evaluating"
            self._before_evaluation = self._attempt.take()
            self.evaluation_goes_on()

    def evaluation_goes_on(self) -> None:
        """Between two batches of the evaluation."""
        if self._before_evaluation is not None and self._attempt.stop_requested:
            self._attempt.serve_stop(self._before_evaluation, leave=self._flush)

    def evaluation_ended(self) -> None:
        """The evaluation is over."""
        self.evaluation_goes_on()
        self._before_evaluation = None
        self._attempt.phase = "training"

    def epoch_ended(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """An epoch is complete; where it was the last, so is training, before Keras replaces weights by averages or by the best ones."""
        if not self._begun:
            return
        self._position = RunPosition(self._position.step, epoch + 1, 0)
        self._attempt.at(self._position, logs)
        if self._model.stop_training or epoch + 1 >= self._epochs:
            self._final = self._attempt.take()

    def _train_function(self, iterator: Any) -> Any:
        if not self._armed:
            # An exception ended our fit, and this is a call of another one: it is not ours to count.
            original = self._original
            self.abandon()
            return original(iterator)
        self._armed = False
        try:
            if not self._begun:
                self._first_step(iterator)
            else:
                self._attempt.save_if_due(leave=self._flush)
            logs = self._original(iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self._leave(error)
            raise
        self._attempt.phase = "training"
        per_call = self._model.steps_per_execution
        done = min(per_call, self._steps - self._batch) if self._steps else per_call
        self._position = RunPosition(self._position.step + done, self._position.epoch, self._batch + done)
        self._attempt.at(self._position, logs)
        return logs

    def _first_step(self, iterator: Any) -> None:
        self._callback_states = CallbackStates(self._others)
        if self._checkpoint is None:
            self._attempt.goes_on_from(None)
            self._attempt.position = self._position
        else:
            self._build(iterator.element_spec)
            self._position = self._attempt.restore(self._checkpoint)
            if self._position.batch:
                self._attempt.epoch_restarted()
                self._position = self._attempt.position
            self._callback_states.set(self._loaded_callbacks)
        self._begun = True
        self._attempt.training_starts()
        self._attempt.phase = "tracing"
        self._attempt.serve_stop(leave=self._flush)

    def _build(self, element_spec: Any) -> None:
        if element_spec is not None and unbuilt_parts({"model": self._model}):
            _private.build_from_spec(self._model, element_spec)

    def _publish(self) -> None:
        self._attempt.phase = "exporting"
        run = self._manager.run
        base = run.layout.export if self._export is True else Path(self._export)
        began = time.monotonic()
        try:
            path = export_saved_model(self._model, base)
        except (CheckpointError, ConfigError) as error:
            self._attempt.journal.record(events.ExportFailed(error=type(error).__name__, message=str(error)))
            warnings.warn(f"{error} Training and its checkpoints are not affected.", stacklevel=2)
            return
        shown = path.relative_to(run.directory) if path.is_relative_to(run.directory) else path
        self._attempt.journal.record(events.Exported(path=str(shown), step=self._position.step, secs=time.monotonic() - began))
        logger.info("published the model as %s", path)


def _abandon(reference: weakref.ref[FitRun]) -> None:
    fit = reference()
    if fit is not None:
        fit.abandon()
