"""Resuming a `fit`: Keras' loops replay what was done, then the checkpoint's state is assigned.

Keras has no way to begin in the middle of an epoch: the iterator, the counts and the logs of `fit`
are local variables of its loops. So the loops run again from the first epoch on, with train and
test functions that compute nothing. `docs/architecture.md` explains the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.compat import keras_fit
from ckptkit.data.iterator_state import batches_of, describe
from ckptkit.errors import ConfigError
from ckptkit.keras.fit.data_changes import data_changes
from ckptkit.keras.fit.data_notes import start_training
from ckptkit.keras.fit.evaluation_replay import EvaluationReplay
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_stage import FitStage
from ckptkit.keras.fit.saved_position import read_position
from ckptkit.keras.fit.train_replay import TrainReplay
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.tracking.leaves import Leaf, Tensors
from ckptkit.tracking.tracker import track

ModelValues = list[tuple[Leaf, Tensors]]


def start_resume(fit: FitContext, checkpoint: Checkpoint) -> FitResume:
    """Starts the replay of Keras' loops to a checkpoint's position, hidden from other callbacks.

    Args:
        fit: what the parts of this `fit` share.
        checkpoint: the checkpoint to resume from.

    Raises:
        ConfigError: If it has no position in `fit` that a call of the train function can reach.
        IncompatibleStateError: If a later version wrote its position.
        CorruptCheckpointError: If it cannot be read.
    """
    fit.state.run_position = fit.session.start_from(checkpoint)
    fit.cleanup.add_on_failure(fit.session.changes.undo)
    fit.cleanup.add_on_failure(fit.session.resume.undo_adapted)
    with fit.session.reading(checkpoint):
        adapted = fit.session.resume.restore_adapted(checkpoint)
    if fit.session.changes.apply() or adapted:
        # A step that was traced before has arguments of its optimizer, and vocabularies, as
        # constants.
        fit.model.make_train_function(force=True)
    with fit.session.reading(checkpoint):
        position = read_position(checkpoint, fit.state.position.per_call)
    if position.random is not None:
        fit.state.drawing.set_beginning(position.random, random=position.drawn_again is not None)
    fit.state.position = position
    resume = FitResume(
        fit,
        checkpoint,
        TrainReplay(position, _timed_first_step(fit), fit.call.epoch_iterator),
        EvaluationReplay(position),
        _values_of(fit.model),
    )
    fit.cleanup.add_on_failure(resume.undo)
    fit.session.stopwatch.switch_to("drawing_again")
    fit.stages.move(FitStage.REPLAYING)
    keras_fit.set_initial_epoch(fit.model, position.first_epoch)
    fit.others.hide()
    return resume


class FitResume:
    """Answers Keras' calls up to the checkpoint's position, and assigns its state there.

    Args:
        fit: what the parts of this `fit` share.
        checkpoint: the checkpoint to resume from.
        training: replays calls of the train function.
        evaluations: replays calls of the test function.
        untouched: the model's values before the step that is discarded.
    """

    def __init__(
        self,
        fit: FitContext,
        checkpoint: Checkpoint,
        training: TrainReplay,
        evaluations: EvaluationReplay,
        untouched: ModelValues,
    ) -> None:
        self._fit = fit
        self._checkpoint = checkpoint
        self._training = training
        self._evaluations = evaluations
        self._untouched = untouched

    def undo(self) -> None:
        """Restores the model's previous values, if the resume fails."""
        if self._fit.stages.is_replaying:
            _assign(self._untouched)

    # -- Keras' events on the way

    def epoch_began(self, epoch: int) -> None:
        """Notes that Keras has begun an epoch."""
        self._training.epoch_began(epoch)
        position = self._fit.state.position
        # An iterator that is kept may have read ahead, by more or by less than it did then, so the
        # random states of then are not those that its next batch was made with.
        kept = keras_fit.keeps_iterator(self._fit.call, self._training.iterator)
        if (
            epoch == position.epoch
            and position.drawn_again is not None
            and position.random_of_epoch is not None
        ):
            self._fit.state.drawing.set_epoch(position.random_of_epoch, drawn=not kept)

    def replay_train_call(self, iterator: Any, batch: int) -> bool:
        """Replays a call of the train function.

        Args:
            iterator: the argument of the call.
            batch: the number of the first batch of the call, from 0 in each epoch.

        Returns:
            Whether it was replayed. False if no earlier attempt has made it, so that it must train.

        Raises:
            StopIteration: If the data had ended there.
            Preempted: After a request to stop.
        """
        session = self._fit.session
        session.beats += 1
        session.stopping.serve(leave=self._fit.cleanup.prepare_exit)
        if self._training.arrives():
            self._restore(iterator)
            self.show_callbacks(lambda callback: callback.on_train_batch_begin(batch, logs={}))
            return False
        self._training.replay_call(iterator)
        if self._training.arrives_at_evaluation():
            self._restore(iterator)
        return True

    def evaluation_began(self) -> None:
        """Notes that Keras has begun an evaluation."""
        # Looked up in the frames of Keras' loop, which is on the stack only here.
        made = keras_fit.evaluation_iterator()
        self._evaluations.evaluation_began(
            made if made is not self._fit.call.epoch_iterator else None
        )

    def replay_test_call(self, iterator: Any) -> None:
        """Replays a call of the test function, or ends an evaluation that is new.

        Raises:
            StopIteration: If the data had ended there.
        """
        if self._evaluations.is_new:
            keras_fit.skip_evaluation(self._fit.model)
        else:
            self._evaluations.replay_call(iterator)

    def check_data_reaches(self, epoch: int) -> None:
        """Checks that an epoch did not end before the batch of the checkpoint.

        Raises:
            ConfigError: If it did, because the data is shorter now.
        """
        if epoch >= self._fit.state.position.epoch:
            raise ConfigError(
                f"The data of an epoch now ends before batch {self._checkpoint.manifest.batch}, "
                f"which this run had done in epoch {epoch}. Restore the data, or name another "
                "directory for a run on other data."
            )

    # -- at the position

    def _restore(self, iterator: Any) -> None:
        """Assigns the checkpoint's state, after all that Keras changes before a step."""
        fit, position = self._fit, self._fit.state.position
        fit.others.tell(lambda callback: callback.on_epoch_begin(position.epoch, {}))
        fit.state.iterator = iterator
        fit.state.missing_batches = self._training.missing(iterator)
        pipeline, batches = describe(iterator), batches_of(iterator, fit.steps_per_epoch)
        for change in data_changes(position, pipeline, batches, self._evaluations.begun):
            fit.session.inexact(change)
        # What the next checkpoint compares with.
        position.pipeline, position.batches = pipeline, batches
        # Data that is drawn again has its share of Python's and NumPy's random numbers drawn
        # already; the states of the checkpoint would draw them twice.
        fit.session.random.only_keras = position.drawn_again is not None
        with fit.session.reading(self._checkpoint):
            fit.state.run_position = fit.session.restore(self._checkpoint)
        if fit.session.resume.constants_changed:
            # The discarded step was traced with the program's own (Normalization).
            fit.model.make_train_function(force=True)
        fit.stages.move(FitStage.RESTORED)
        if not fit.state.position.now.calls:
            # A final state is taken at the end of its epoch, before Keras resets the metrics.
            fit.model.reset_metrics()
        start_training(fit)

    def show_callbacks(self, tell: Callable[[Any], None]) -> None:
        """Ends the replay: restores the other callbacks, which get Keras' events again.

        They had seen the present event when the state was taken, so what they do to the model now
        is part of the state already, and is undone.

        Args:
            tell: passes the present event to a callback.
        """
        restored, position = _values_of(self._fit.model), self._fit.state.position
        lost = self._fit.others.show(
            self._fit.state.loaded, tell, position.train_calls, position.test_calls
        )
        _assign(restored)
        self._untouched = []
        self._fit.stages.move(FitStage.TRAINING)
        for reason in lost:
            self._fit.session.inexact(reason)

    def pass_missing_evaluation(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Ends the replay in an epoch whose evaluation the program has removed since then.

        Args:
            epoch: the epoch that ends.
            logs: the logs of the epoch.
        """
        self._fit.session.inexact(
            f"the run was stopped in the evaluation of epoch {epoch}, and there is no evaluation "
            "now"
        )
        self.show_callbacks(lambda callback: None)
        # Keras is iterating over the list in which they were hidden.
        self._fit.others.tell(lambda callback: callback.on_epoch_end(epoch, dict(logs)))


def _timed_first_step(fit: FitContext) -> Callable[[Any], Any]:
    """Return the step that builds and traces; its result is discarded."""
    step = fit.model.train_function

    def first_step(iterator: Any) -> Any:
        with fit.session.stopwatch.during("first_step"):
            return step(iterator)

    return first_step


def _values_of(model: Any) -> ModelValues:
    return [(leaf, leaf.capture()) for leaf in track({"model": model}).leaves]


def _assign(values: ModelValues) -> None:
    for leaf, tensors in values:
        leaf.assign(tensors)
