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
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ckptkit import _private
from ckptkit.errors import CheckpointError, ConfigError
from ckptkit.export.saved_model import export_saved_model
from ckptkit.keras import beside
from ckptkit.keras.callback_state import CallbackStates
from ckptkit.keras.identity import check_same_phase, finished_by, note_finished
from ckptkit.keras.place import Pass, Place
from ckptkit.keras.replay import Replay
from ckptkit.keras.watch import watch
from ckptkit.log import logger
from ckptkit.manager import CheckpointManager
from ckptkit.manager.attempt import Attempt
from ckptkit.manager.saver import Taken
from ckptkit.position import RunPosition
from ckptkit.resume.assign import read_python
from ckptkit.save.build import unbuilt_parts
from ckptkit.save.hyperparameters import is_json
from ckptkit.save.leaves import Leaf, PythonLeaf, Tensors
from ckptkit.save.position import IteratorLeaf, describe, why_not_saved
from ckptkit.save.process import python_and_numpy, set_python_and_numpy
from ckptkit.save.tracked import track
from ckptkit.store import events
from ckptkit.store.catalog import Checkpoint
from ckptkit.store.fresh import this_life
from ckptkit.store.manifest import DATA

DATA_ENDED = (StopIteration, tf.errors.OutOfRangeError)
"""What a train or test function raises where the data has no further batch."""

FIT_STATE = "fit/state/0"
"""The key of what `fit` keeps beside the model."""


class FitRun:
    """What a `CheckpointCallback` does in one `fit`.

    Args:
        given: a run directory or a manager.
        options: for the manager, where a directory was given.
        export: whether, or where, to publish the model.
        model: the model that is trained.
        callback: the `CheckpointCallback`.
        call: what the `fit` has in hand.
        params: what Keras tells callbacks: `epochs`, of the whole run, and `steps`, batches of an epoch, or None.
    """

    def __init__(self, given: Any, options: Mapping[str, Any], export: Any, model: Any, callback: Any, call: _private.FitCall,
                 params: Mapping[str, Any]) -> None:
        self._ours = callback
        self._list = None if call.callback_list is None else weakref.ref(call.callback_list)
        others = [] if call.callback_list is None else [each for each in call.callback_list.callbacks if each is not callback]
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
        self._loaded: dict[str, Any] = {"callbacks": {}, "files": {}}
        self._place = Place(first_epoch=call.initial_epoch, random=python_and_numpy(), per_call=model.steps_per_execution)
        self._replay: Replay | None = None
        self._untouched: list[tuple[Leaf, Tensors]] = []
        self._iterator: Any = None
        self._missing = 0
        self._original: Any = None
        self._test_original: Any = None
        self._evaluation = Pass()
        self._armed = False  # Keras has told us that a train batch begins: the next call of the train function is ours
        self._begun = False  # the first step of this attempt has been made
        self._batch = 0
        self._position = RunPosition()
        self._before_evaluation: Taken | None = None
        self._final: Taken | None = None
        self._publish_later = False
        self._hook: Any = None

    # -- state of its own, saved as the entry "fit"

    def leaves(self, name: str) -> list[Leaf]:
        """The place in `fit` with the other callbacks' state, and the state of the iterator that it draws from."""
        leaves: list[Leaf] = [PythonLeaf(f"{name}/state/0", name, self._get_state, self._set_state)]
        # An iterator that is used up is of no use, and its state would come with the counters of the one that was made after it.
        used_up = self._place.evaluating and not _private.keeps_iterator(self._call, self._iterator)
        if self._iterator is not None and self._place.drawn_again is None and not used_up:
            leaves.append(IteratorLeaf(f"{name}/{DATA}/0", "the data of fit", self._iterator, self._missing))
        return leaves

    def _get_state(self) -> dict[str, Any]:
        self._place.logs = {key: float(value) for key, value in self._place.logs.items()}
        return {"place": self._place.to_state(), "callbacks": self._callback_states.get() if self._callback_states else {},
                "files": beside.sizes(self._others)}

    def _set_state(self, state: dict[str, Any]) -> None:
        self._loaded = state

    # -- from the beginning to the end

    @property
    def is_open(self) -> bool:
        """Whether the run is open."""
        return self._manager.is_open

    def begin(self) -> None:
        """Opens the run and finds where it goes on. The state itself is assigned when Keras' loops have come to that place: by then the
        other callbacks have done what they do at the beginning of training and of the epoch, which it overwrites.
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
            self._attempt.goes_on_from(None)
            self._attempt.position = self._position
        else:
            self._say_other_counts(checkpoint)
            if self._is_finished(checkpoint):
                self._already_finished(checkpoint)
                return
            self._position = self._attempt.goes_on_from(checkpoint)
            self._set_out(checkpoint)
        self._original = self._model.train_function
        self._model.train_function = self._train_function
        self._attempt.phase = "tracing"

    def _set_out(self, checkpoint: Checkpoint) -> None:
        """Sends Keras' loops to the place where the run was, unseen by the other callbacks."""
        state = read_python(checkpoint, FIT_STATE)
        if state is None:
            raise ConfigError(f"{checkpoint.path} was not written from model.fit, so it does not say where fit goes on. Go on with the loop that "
                              f"wrote it, or begin another run with its weights.")
        place = Place.from_state(state["place"]).with_per_call(self._place.per_call)
        if place is None:
            raise ConfigError(f"steps_per_execution was {state['place']['per_call']} and is {self._place.per_call} now, and the checkpoint is at "
                              f"batch {checkpoint.manifest.batch}, where no call of that size ends. Put the value back for this epoch.")
        if place.drawn_again is not None and place.random is not None:
            set_python_and_numpy(place.random)
        self._place = place
        self._untouched = [(leaf, leaf.capture()) for leaf in track({"model": self._model}).leaves]
        self._replay = Replay(place, self._model.train_function)
        _private.set_initial_epoch(self._model, place.first_epoch)
        self._show([self._ours])

    def _show(self, callbacks: list[Any]) -> None:
        """Which callbacks Keras tells of its events."""
        callback_list = self._list() if self._list is not None else None
        if callback_list is not None:
            callback_list.callbacks = callbacks

    def _configured(self) -> dict[str, object]:
        """What `compile` and `fit` were given, beside the optimizer."""
        loss = getattr(self._model, "loss", None)
        if callable(loss):
            if isinstance(loss, keras.losses.Loss):
                loss = {"loss": keras.losses.serialize(loss), "arguments": _private.arguments_of_loss(loss)}
            else:
                loss = getattr(loss, "__name__", None)
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
        if checkpoint.manifest.final:
            self._attempt.note_finished()
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
                CallbackStates(self._others).set(self._loaded["callbacks"])
            # An interrupted run publishes nothing; the next start does.
            self._attempt.serve_stop(leave=self._flush)
            if self._export and (self._final is not None or self._publish_later):
                self._publish()
            self._attempt.serve_stop(leave=self._flush)
            note_finished(self._manager.run.layout, self._model)  # and not where it was stopped at its very end: that fit may be called again
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._manager.let_go(error)

    def abandon(self) -> None:
        """The `fit` was left by an exception that did not pass through us."""
        if self._manager.is_open:
            self._leave(RuntimeError("fit was left before its end, by an exception outside of the training step"))

    def _failed(self, error: BaseException) -> None:
        """An exception is on its way out of `fit`."""
        if self._manager.is_open:
            self._leave(error)

    def _leave(self, error: BaseException) -> None:
        if self._replay is not None:
            for leaf, tensors in self._untouched:  # the step that was to be thrown away has changed them
                leaf.assign(tensors)
        self._undo()
        self._manager.let_go(error)

    def _undo(self) -> None:
        """Puts back what was changed in the model and the interpreter."""
        if self._original is not None and self._model.train_function == self._train_function:
            self._model.train_function = self._original
        if self._test_original is not None and self._model.test_function == self._test_function:
            self._model.test_function = self._test_original
        _private.set_initial_epoch(self._model, None)
        if self._hook is not None and sys.excepthook == self._on_uncaught:
            sys.excepthook = self._hook
        self._hook = None

    def _watch_for_errors(self) -> None:
        """Notices an exception that ends `fit` elsewhere than in a step: one that ends the program, and one that somebody catches."""
        self._hook, sys.excepthook = sys.excepthook, self._on_uncaught
        if self._call.callback_list is not None:
            watch(self._call.callback_list, self._failed)
            # Nobody but the fit holds its list of callbacks, so the list goes when the fit does.
            weakref.finalize(self._call.callback_list, _abandon, weakref.ref(self)).atexit = False
            self._call = replace(self._call, callback_list=None)

    def _on_uncaught(self, kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        hook = self._hook
        self._failed(error)
        (hook or sys.__excepthook__)(kind, error, traceback)

    def _flush(self) -> None:
        self._undo()
        beside.flush(self._others)

    # -- events of Keras

    def epoch_began(self, epoch: int) -> None:
        """An epoch begins at its first batch."""
        if self._replay is not None:
            self._replay.epoch_began(epoch)
            kept = _private.keeps_iterator(self._call, self._replay.iterator)  # it may have read ahead, by more or less than it did then
            if epoch == self._place.epoch and self._place.drawn_again is not None and self._place.random_of_epoch is not None and not kept:
                set_python_and_numpy(self._place.random_of_epoch)
        else:
            self._place.random_of_epoch = python_and_numpy()
            self._position = RunPosition(self._position.step, epoch, 0)

    def batch_began(self, batch: int) -> None:
        """Keras is about to call the train function for the batches from `batch` on."""
        self._armed = True
        self._batch = batch

    def evaluation_began(self) -> None:
        """An epoch's evaluation begins; the state of before it is what a request to stop inside it will save."""
        self._test_original, self._model.test_function = self._model.test_function, self._test_function
        if self._replay is not None:
            if not self._begun:
                self._replay.evaluation_began()
                return
            self._go_on(lambda callback: callback.on_test_begin({}))
        self._attempt.phase = "evaluating"
        self._evaluation = Pass()
        self._place.evaluating = True
        self._before_evaluation = self._attempt.reserve = self._attempt.take()
        self._place.evaluating = False
        self.evaluation_goes_on()

    def evaluation_goes_on(self) -> None:
        """Between two batches of the evaluation."""
        if self._before_evaluation is not None and self._attempt.stop_requested:
            self._attempt.serve_stop(self._before_evaluation, leave=self._flush)

    def evaluation_ended(self) -> None:
        """The evaluation is over."""
        self._model.test_function, self._test_original = self._test_original, None
        if self._replay is not None:
            return
        self._place.evaluations.append(self._evaluation)
        self.evaluation_goes_on()
        self._before_evaluation = self._attempt.reserve = None
        self._attempt.phase = "training"

    def epoch_ended(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """An epoch is complete; where it was the last, so is training, before Keras replaces weights by averages or by the best ones."""
        if self._replay is not None:
            if epoch >= self._place.epoch:
                raise ConfigError(f"The data of an epoch now ends before batch {self._checkpoint_batch}, which this run had done in epoch {epoch}. "
                                  f"Put the data back, or name another directory for a run on other data.")
            return
        self._place.epochs.append(self._place.now)
        self._place.now = Pass()
        self._position = RunPosition(self._position.step, epoch + 1, 0)
        self._attempt.at(self._position, logs)
        if self._model.stop_training or epoch + 1 >= self._epochs:
            self._final = self._attempt.take()

    @property
    def _checkpoint_batch(self) -> int:
        return self._checkpoint.manifest.batch if self._checkpoint is not None else 0

    def _train_function(self, iterator: Any) -> Any:
        if not self._armed:
            # An exception ended our fit, and this is a call of another one: it is not ours to count.
            original = self._original
            self.abandon()
            return original(iterator)
        self._armed = False
        try:
            if self._replay is not None and self._goes_to_the_place(iterator):
                return dict(self._place.logs)
            self._iterator = iterator
            if not self._begun:
                self._first_step(iterator)
            else:
                self._attempt.save_if_due(leave=self._flush)
            logs = self._original(iterator)
            if self._attempt.phase == "tracing":
                self._traced()
        except DATA_ENDED:
            self._place.now.ended = self._replay is None
            raise
        except BaseException as error:
            self._leave(error)
            raise
        per_call = self._place.per_call
        done = min(per_call, self._steps - self._batch) if self._steps else per_call
        self._position = RunPosition(self._position.step + done, self._position.epoch, self._batch + done)
        self._place.now.calls += 1
        self._place.logs = dict(logs)
        self._attempt.at(self._position, logs)
        return logs

    def _traced(self) -> None:
        """The first step of this attempt has shown what the train function is made of."""
        self._attempt.phase = "training"
        drawn = _private.stateful_random_ops(self._original)
        if drawn:
            self._attempt.inexact(f"the model or its train step draws from {', '.join(drawn)}, whose state is inside TensorFlow's kernels and "
                                  f"cannot be saved. Use keras.random with a SeedGenerator, tf.random.Generator, or tf.random.stateless_*")

    def _test_function(self, iterator: Any) -> Any:
        if self._replay is not None:
            return self._replay.evaluation_call(iterator)
        if not self._place.evaluations and not self._evaluation.calls:
            self._place.evaluation_drawn_again = why_not_saved(iterator)
        try:
            logs = self._test_original(iterator)
        except DATA_ENDED:
            self._evaluation.ended = True
            raise
        except BaseException as error:
            self._leave(error)
            raise
        self._evaluation.calls += 1
        return logs

    def _first_step(self, iterator: Any) -> None:
        """A new run begins."""
        self._callback_states = CallbackStates(self._others)
        self._place.drawn_again = why_not_saved(iterator)
        self._place.pipeline = describe(iterator)
        self._begin_training()
        self._attempt.phase = "tracing"
        self._attempt.serve_stop(leave=self._flush)

    def _begin_training(self) -> None:
        self._begun = True
        self._attempt.training_starts()
        if self._place.drawn_again is not None:
            logger.info("the position in this data cannot be saved (%s): after an interruption the batches that were done are drawn again, without "
                        "training, which takes as long as reading them. A pipeline of tf.data without generators and random map functions, or "
                        "ckptkit.data.shuffled, goes on at once", self._place.drawn_again)

    # -- on the way to the place where the run was

    def _goes_to_the_place(self, iterator: Any) -> bool:
        """Stands for a call that was made before; False where this is the first that was not."""
        assert self._replay is not None
        self._attempt.serve_stop(leave=self._flush)
        if self._replay.arrives():
            self._restore(iterator)
            self._go_on(lambda callback: callback.on_train_batch_begin(self._batch, logs={}))
            return False
        self._replay.call(iterator)
        if self._replay.arrives_at_evaluation():
            self._restore(iterator)
        return True

    def _restore(self, iterator: Any) -> None:
        assert self._replay is not None
        assert self._checkpoint is not None
        for callback in self._others:
            callback.on_epoch_begin(self._place.epoch, {})
        self._iterator = iterator
        self._missing = self._replay.missing(iterator)
        if describe(iterator) != self._place.pipeline:
            self._attempt.inexact(f"the data's pipeline has changed, from {self._place.pipeline} to {describe(iterator)}")
        self._attempt.random.only_keras = self._place.drawn_again is not None
        self._position = self._attempt.restore(self._checkpoint)
        if not self._place.now.calls:
            self._model.reset_metrics()  # a final state was taken at the end of its epoch, before Keras did this
        self._begin_training()

    def _go_on(self, tell: Callable[[Any], None]) -> None:
        """The place is reached: the other callbacks hear of the present event, get their state back, and hear of all that follows."""
        self._callback_states = CallbackStates(self._others)
        for callback in self._others:
            tell(callback)
        self._callback_states.set(self._loaded["callbacks"])
        beside.cut(self._others, self._loaded["files"])
        self._replay = None
        self._untouched = []
        self._show([*self._others, self._ours])

    def _build(self, element_spec: Any) -> None:
        if element_spec is None or not unbuilt_parts({"model": self._model}):
            return
        try:
            _private.build_from_spec(self._model, element_spec)
        except RuntimeError:  # a train step of the user's own that makes its variables itself: a step does, and all of it is overwritten
            self._model.train_function(_private.new_iterator(self._call))

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
