"""One call of `model.fit`: when its state is whole, what it is, and how it goes on.

There is one moment at which a snapshot is taken: on entry to the train function, before step s+1.
By then every callback of step s, and of an epoch's end, has run, the metrics are complete, and the
next epoch's iterator exists. The end of training is the other one. Only a request to stop that
comes during an evaluation is answered with the state from before that evaluation.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import tensorflow as tf

from ckptkit.compat import keras_fit, keras_models
from ckptkit.data.iterator_state import (
    IteratorLeaf,
    batches_of,
    describe,
    reason_not_repeatable,
    reason_not_savable,
)
from ckptkit.errors import ConfigError
from ckptkit.export.export_spec import ExportSpec, is_switched_off
from ckptkit.keras.compile_arguments import configured, say_other_counts
from ckptkit.keras.fit.fit_exit_watch import FitExitWatch
from ckptkit.keras.fit.fit_position import EpochPass, FitPosition, measured, plain_logs
from ckptkit.keras.fit.publish_model import divergence, publish
from ckptkit.keras.fit.replay import Replay
from ckptkit.keras.fit.saved_position import place_state, read_place
from ckptkit.keras.fit.train_step_check import examined_step
from ckptkit.keras.other_callbacks import OtherCallbacks
from ckptkit.keras.training_phase import (
    check_one_device,
    check_same_phase,
    finished_by,
    note_finished,
)
from ckptkit.log import logger
from ckptkit.manager import CheckpointManager
from ckptkit.position import RunPosition
from ckptkit.restore.newest_checkpoint import DivergedError
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.manifest import DATA
from ckptkit.session.saver import Taken
from ckptkit.session.session import Session
from ckptkit.tracking.leaves import Leaf, PythonLeaf, Tensors
from ckptkit.tracking.random_state import python_and_numpy, set_python_and_numpy
from ckptkit.tracking.state_check import unbuilt_parts
from ckptkit.tracking.tracker import track

DATA_ENDED = (StopIteration, tf.errors.OutOfRangeError)
"""What a train or test function raises where the data has no further batch."""


class FitRun:
    """What a `CheckpointCallback` does in one `fit`.

    Args:
        given: a run directory or a manager.
        options: for the manager, where a directory was given.
        export: how to publish the model, or None.
        model: the model that is trained.
        callback: the `CheckpointCallback`.
        call: what the `fit` has in hand.
        params: what Keras tells callbacks: `epochs`, of the whole run, and `steps`, batches of an
            epoch, or None.
    """

    def __init__(
        self,
        given: Any,
        options: Mapping[str, Any],
        export: ExportSpec | None,
        model: Any,
        callback: Any,
        call: keras_fit.FitCall,
        params: Mapping[str, Any],
    ) -> None:
        self._others = OtherCallbacks(call.callback_list, callback)
        self._model = model
        self._export = export if export is None or not is_switched_off(os.environ) else None
        self._call = call
        self._epochs = params.get("epochs", 1)
        self._steps = params.get("steps")
        self._manager = (
            given
            if isinstance(given, CheckpointManager)
            else CheckpointManager(given, {"model": model}, **options)
        )
        self._attempt: Session
        self._checkpoint: Checkpoint | None = None
        self._loaded: dict[str, Any] = {"callbacks": {}, "files": {}}
        self._place = FitPosition(
            first_epoch=call.initial_epoch,
            random=python_and_numpy(),
            per_call=model.steps_per_execution,
        )
        self._replay: Replay | None = None
        self._untouched: list[tuple[Leaf, Tensors]] = []
        self._iterator: Any = None
        self._missing = 0
        self._original: Any = None
        self._test_original: Any = None
        self._evaluation = EpochPass()
        # Keras has told us that a train batch begins: the next call of the train function is ours
        self._armed = False
        self._examined = False
        self._begun = False  # the first step of this attempt has been made
        self._batch = 0
        self._position = RunPosition()
        self._before_evaluation: Taken | None = None
        self._final: Taken | None = None
        self._diverged: DivergedError | None = None
        self._publish_later = False
        self._watch: FitExitWatch | None = None
        self._leaving = threading.RLock()

    # -- state of its own, saved as the entry "fit"

    def leaves(self, name: str) -> list[Leaf]:
        """The place in `fit` with the other callbacks' state, and the state of the iterator that it
        draws from.
        """
        leaves: list[Leaf] = [PythonLeaf(f"{name}/state/0", name, self._get_state, self._set_state)]
        # An iterator that is used up is of no use, and its state would come with the counters of
        # the one that was made after it.
        used_up = self._place.evaluating and not keras_fit.keeps_iterator(
            self._call, self._iterator
        )
        if self._iterator is not None and self._place.drawn_again is None and not used_up:
            leaves.append(
                IteratorLeaf(f"{name}/{DATA}/0", "the data of fit", self._iterator, self._missing)
            )
        return leaves

    def _get_state(self) -> dict[str, Any]:
        self._place.logs, self._place.evaluation_logs = (
            plain_logs(self._place.logs),
            plain_logs(self._place.evaluation_logs),
        )
        return {**place_state(self._place), **self._others.get()}

    def _set_state(self, state: dict[str, Any]) -> None:
        self._loaded = state

    # -- from the beginning to the end

    @property
    def is_open(self) -> bool:
        """Whether the run is open for this `fit`: a later one may have been given the same manager."""
        return self._manager.is_open and self._manager.open_attempt() is vars(self).get("_attempt")

    def begin(self) -> None:
        """Opens the run and finds where it goes on. The state itself is assigned when Keras' loops
        have come to that place: by then the other callbacks have done what they do at the beginning
        of training and of the epoch, which it overwrites.
        """
        check_one_device(self._model)
        self._attempt = self._manager.open_attempt({"model": self._model, "fit": self})
        self._attempt.total = self._epochs
        try:
            self._find_the_place()
        except BaseException as error:
            self._leave(error)
            raise
        self._watch = FitExitWatch(self._call.callback_list, self._failed, self.abandon)
        self._call = replace(self._call, callback_list=None)

    def _find_the_place(self) -> None:
        checkpoint = self._checkpoint = self._attempt.newest()
        if checkpoint is not None:
            finished_by(self._manager.run.layout, self._model)
            check_same_phase(checkpoint, self._attempt.plan.state, self._model)
        self._attempt.changes.check(checkpoint, configured(self._model, self._call.batch_size))
        if checkpoint is None:
            self._position = RunPosition(epoch=self._call.initial_epoch)
            self._attempt.start_from(None)
            self._attempt.position = self._position
        else:
            say_other_counts(self._attempt, checkpoint, self._model, self._call.initial_epoch)
            if self._is_finished(checkpoint):
                self._already_finished(checkpoint)
                return
            self._position = self._attempt.start_from(checkpoint)
            if self._attempt.changes.apply():
                self._model.make_train_function(
                    force=True
                )  # arguments of optimizers are constants in a step that was traced
            self._set_out(checkpoint)
        self._wrap_train_function()
        self._attempt.phase = "tracing"

    def _wrap_train_function(self) -> None:
        self._original = self._model.train_function
        self._model.train_function = self._train_function

    def _set_out(self, checkpoint: Checkpoint) -> None:
        """Sends Keras' loops to the place where the run was, unseen by the other callbacks."""
        with self._attempt.reading(checkpoint):
            place = read_place(checkpoint, self._place.per_call)
        if place.drawn_again is not None and place.random is not None:
            set_python_and_numpy(place.random)
        self._place = place
        self._untouched = self._values_of_model()
        self._attempt.stopwatch.switch_to("drawing_again")
        self._replay = Replay(
            place, self._traced(self._model.train_function), self._call.epoch_iterator
        )
        keras_fit.set_initial_epoch(self._model, place.first_epoch)
        self._others.hide()

    def _traced(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The step that is thrown away; it builds and traces."""

        def traced(iterator: Any) -> Any:
            with self._attempt.stopwatch.during("first_step"):
                return step(iterator)

        return traced

    def _is_finished(self, checkpoint: Checkpoint) -> bool:
        """Whether training has come to its end, and no more epochs are asked for now."""
        manifest = checkpoint.manifest
        return manifest.epoch >= self._epochs or (
            manifest.final and (manifest.total or 0) >= self._epochs
        )

    def _already_finished(self, checkpoint: Checkpoint) -> None:
        self._build(self._call.element_spec)
        with self._attempt.reading(checkpoint):
            self._position = self._attempt.restore(checkpoint)
        if checkpoint.manifest.final:
            self._attempt.note_finished()
        self._attempt.done = True
        keras_fit.set_initial_epoch(self._model, max(self._epochs, self._position.epoch))
        self._publish_later = checkpoint.manifest.final
        logger.info(
            "this run has finished: %d epochs are done, nothing is trained. To train on, pass "
            "larger epochs (a total, as in Keras); for "
            "another run, pass fresh='a label' or name another directory",
            checkpoint.manifest.epoch,
        )

    def end(self) -> None:
        """Training is over."""
        self._attempt.stopwatch.switch_to("outside")
        self._undo()
        error: BaseException | None = None
        try:
            if self._diverged is not None:
                error = self._diverged
                logger.warning("%s", error)
                return
            if self._final is not None:
                self._attempt.finish(self._final)
            elif self._checkpoint is not None:
                self._attempt.assign_result(self._checkpoint)
                self._others.give_back(self._loaded)
            # An interrupted run publishes nothing; the next start does.
            self._attempt.stopping.serve(leave=self._flush)
            if self._export is not None and (self._final is not None or self._publish_later):
                with self._attempt.stopwatch.during("exporting"):
                    publish(
                        self._attempt,
                        self._model,
                        self._export,
                        self._call,
                        trained=self._final is not None,
                    )
            self._attempt.stopping.serve(leave=self._flush)
            note_finished(
                self._manager.run.layout, self._model
            )  # and not where it was stopped at its very end: that fit may be called again
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._manager.let_go(error)

    def abandon(self, *, close: bool = True) -> None:
        """The `fit` was left by an exception that did not pass through us.

        Args:
            close: whether the event files of the other callbacks are closed.
        """
        # whoever opens the run next waits until it is let go of, where another thread is at that
        with self._leaving:
            if self.is_open:
                self._leave(
                    RuntimeError(
                        "fit was left before its end, by an exception outside of the training step"
                    ),
                    close=close,
                )

    def _failed(self, error: BaseException) -> None:
        """An exception is on its way out of `fit`."""
        if self.is_open:
            self._leave(error)

    def _leave(self, error: BaseException, *, close: bool = True) -> None:
        if self._replay is not None:
            _give(self._untouched)  # the step that was to be thrown away has changed them
            self._attempt.changes.undo()
        self._undo()
        if close:
            self._others.close()
        self._manager.let_go(error)

    def _undo(self) -> None:
        """Puts back what was changed in the model and the interpreter."""
        if self._original is not None and self._model.train_function == self._train_function:
            self._model.train_function = self._original
        if self._test_original is not None and self._model.test_function == self._test_function:
            self._model.test_function = self._test_original
        keras_fit.set_initial_epoch(self._model, None)
        if self._watch is not None:
            self._watch.end()

    def _flush(self) -> None:
        self._undo()
        self._others.flush()
        self._others.close()

    # -- events of Keras

    def epoch_began(self, epoch: int) -> None:
        """An epoch begins at its first batch."""
        if self._replay is not None:
            self._replay.epoch_began(epoch)
            kept = keras_fit.keeps_iterator(
                self._call, self._replay.iterator
            )  # it may have read ahead, by more or less than it did then
            if (
                epoch == self._place.epoch
                and self._place.drawn_again is not None
                and self._place.random_of_epoch is not None
                and not kept
            ):
                set_python_and_numpy(self._place.random_of_epoch)
        else:
            self._place.random_of_epoch = python_and_numpy()
            self._position = RunPosition(self._position.step, epoch, 0)

    def batch_began(self, batch: int) -> None:
        """Keras is about to call the train function for the batches from `batch` on."""
        self._armed = True
        self._batch = batch
        if self._model.train_function not in (self._train_function, None):
            # A callback has had it made anew, as after a change of what is trained.
            self._wrap_train_function()
            self._examined = False

    def evaluation_began(self) -> None:
        """An epoch's evaluation begins; the state of before it is what a request to stop inside it
        will save.
        """
        self._test_original, self._model.test_function = (
            self._model.test_function,
            self._test_function,
        )
        if self._replay is not None:
            if not self._begun:
                made = keras_fit.evaluation_iterator()
                self._replay.evaluation_began(
                    made if made is not self._call.epoch_iterator else None
                )
                return
            self._go_on(lambda callback: callback.on_test_begin({}))
        self._attempt.phase = "evaluating"
        self._attempt.stopwatch.switch_to("evaluating")
        self._evaluation = EpochPass()
        self._place.evaluating = True
        self._before_evaluation = self._attempt.stopping.reserve = self._attempt.take()
        self._place.evaluating = False
        self.evaluation_goes_on()

    def evaluation_goes_on(self) -> None:
        """Between two batches of the evaluation."""
        if self._before_evaluation is not None and self._attempt.stopping.requested:
            self._attempt.stopping.serve(self._before_evaluation, leave=self._flush)

    def evaluation_ended(self) -> None:
        """The evaluation is over."""
        self._model.test_function, self._test_original = self._test_original, None
        if self._replay is not None:
            return
        self._place.evaluations.append(self._evaluation)
        self.evaluation_goes_on()
        self._before_evaluation = self._attempt.stopping.reserve = None
        self._attempt.phase = "training"
        self._attempt.stopwatch.switch_to("training")

    def epoch_ended(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """An epoch is complete; where it was the last, so is training, before Keras replaces
        weights by averages or by the best ones.
        """
        if self._replay is not None and self._begun:
            self._attempt.inexact(
                f"the run was stopped in the evaluation of epoch {epoch}, and there is no "
                "evaluation now"
            )
            self._go_on(lambda callback: None)
            self._others.tell(lambda callback: callback.on_epoch_end(epoch, dict(logs)))
        if self._replay is not None:
            if epoch >= self._place.epoch:
                raise ConfigError(
                    f"The data of an epoch now ends before batch {self._checkpoint_batch}, which "
                    f"this run had done in epoch {epoch}. "
                    f"Put the data back, or name another directory for a run on other data."
                )
            return
        for each in self._others.left_out():
            self._attempt.inexact(each)
        self._place.epochs.append(self._place.now)
        self._place.now = EpochPass()
        self._position = RunPosition(self._position.step, epoch + 1, 0)
        self._attempt.step_done(self._position, measured(logs))
        self._diverged = (
            divergence({**self._place.logs, **logs}) if self._model.stop_training else None
        )
        if self._diverged is not None:
            self._attempt.abandon()
        elif self._model.stop_training or epoch + 1 >= self._epochs:
            self._final = self._attempt.take()

    @property
    def _checkpoint_batch(self) -> int:
        return self._checkpoint.manifest.batch if self._checkpoint is not None else 0

    def _train_function(self, iterator: Any) -> Any:
        if not self._armed:
            # An exception ended our fit, and this is a call of another one: it is not ours to
            # count.
            original = self._original
            self.abandon(close=False)  # the other callbacks may be that one's
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
            logs = self._original(iterator) if self._examined else self._examined_step(iterator)
        except DATA_ENDED:
            self._place.now.ended = self._replay is None
            raise
        except BaseException as error:
            self._leave(error)
            raise
        per_call = self._place.per_call
        done = min(per_call, self._steps - self._batch) if self._steps else per_call
        self._position = RunPosition(
            self._position.step + done, self._position.epoch, self._batch + done
        )
        self._place.now.calls += 1
        self._place.logs = dict(logs)
        self._attempt.step_done(self._position, measured(logs))
        return logs

    def _examined_step(self, iterator: Any) -> Any:
        """The first step of this attempt, or of a function that was made anew."""
        self._examined = True
        logs, why = examined_step(self._original, iterator, eager=self._model.run_eagerly)
        self._attempt.phase = "training"
        if why is not None:
            self._attempt.inexact(why)
        return logs

    def _test_function(self, iterator: Any) -> Any:
        self._attempt.beats += 1
        if self._replay is not None:
            if self._replay.evaluation_is_new:
                keras_fit.skip_evaluation(self._model)
            else:
                self._replay.evaluation_call(iterator)
            return dict(
                self._place.evaluation_logs
            )  # a model's own `evaluate` may look for what it knows in them
        if not self._place.evaluations and not self._evaluation.calls:
            self._place.evaluation_drawn_again = reason_not_savable(iterator)
        try:
            logs = self._test_original(iterator)
        except DATA_ENDED:
            self._evaluation.ended = True
            raise
        except BaseException as error:
            self._leave(error)
            raise
        self._evaluation.calls += 1
        self._place.evaluation_logs = dict(logs or {})
        return logs

    def _first_step(self, iterator: Any) -> None:
        """A new run begins."""
        self._others.begin()
        self._place.drawn_again = reason_not_savable(iterator)
        self._place.pipeline, self._place.batches = (
            describe(iterator),
            batches_of(iterator, self._steps),
        )
        self._begin_training()
        self._attempt.phase = "tracing"
        self._attempt.stopping.serve(leave=self._flush)

    def _begin_training(self) -> None:
        self._begun = True
        self._attempt.training_starts()
        unrepeatable = reason_not_repeatable(self._iterator)
        if unrepeatable is not None:
            self._attempt.inexact(unrepeatable)
        if self._place.drawn_again is not None:
            logger.info(
                "the position in this data cannot be saved (%s): after an interruption the "
                "batches that were done are drawn again, without "
                "training, which takes as long as reading them. A pipeline of tf.data without "
                "generators and random map functions, or "
                "ckptkit.data.shuffled, goes on at once",
                self._place.drawn_again,
            )

    # -- on the way to the place where the run was

    def _goes_to_the_place(self, iterator: Any) -> bool:
        """Stands for a call that was made before; False where this is the first that was not."""
        assert self._replay is not None
        self._attempt.beats += 1
        self._attempt.stopping.serve(leave=self._flush)
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
        self._others.tell(lambda callback: callback.on_epoch_begin(self._place.epoch, {}))
        self._iterator = iterator
        self._missing = self._replay.missing(iterator)
        for change in self._replay.changes(describe(iterator), batches_of(iterator, self._steps)):
            self._attempt.inexact(change)
        self._attempt.random.only_keras = self._place.drawn_again is not None
        with self._attempt.reading(self._checkpoint):
            self._position = self._attempt.restore(self._checkpoint)
        if not self._place.now.calls:
            # a final state was taken at the end of its epoch, before Keras did this
            self._model.reset_metrics()
        self._begin_training()

    def _go_on(self, tell: Callable[[Any], None]) -> None:
        """The place is reached: the other callbacks hear of the present event, get their state
        back, and hear of all that follows.

        They had heard of that event when the state was taken, so what they do to the model now is
        in it already, and is undone.
        """
        restored = self._values_of_model()
        made = [*self._place.epochs, self._place.now]
        lost = self._others.go_on(
            self._loaded,
            tell,
            sum(each.calls for each in made),
            sum(each.calls for each in self._place.evaluations),
        )
        _give(restored)
        self._replay = None
        self._untouched = []
        for each in lost:
            self._attempt.inexact(each)

    def _values_of_model(self) -> list[tuple[Leaf, Tensors]]:
        return [(leaf, leaf.capture()) for leaf in track({"model": self._model}).leaves]

    def _build(self, element_spec: Any) -> None:
        if element_spec is None or not unbuilt_parts({"model": self._model}):
            return
        try:
            keras_models.build_from_spec(self._model, element_spec)
        # a train step of the user's own that makes its variables itself: a step does, and all of it
        # is overwritten
        except RuntimeError:
            self._model.train_function(keras_fit.new_iterator(self._call))


def _give(values: list[tuple[Leaf, Tensors]]) -> None:
    for leaf, tensors in values:
        leaf.assign(tensors)
