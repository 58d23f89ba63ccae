"""Resumes a `fit`: Keras' loops replay earlier calls, then the checkpoint's state is assigned.

Keras cannot begin in the middle of an epoch: the iterator, the counts and the logs of `fit` are
local variables of its loops. So the loops run again from the first epoch, with train and test
functions that compute nothing. `docs/architecture.md` explains the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ckptkit.compat import keras_fit, keras_models
from ckptkit.data.iterator_position import OTHER_ORDER, EarlierDraws
from ckptkit.data.iterator_state import batches_of, describe
from ckptkit.errors import ConfigError
from ckptkit.keras.early_stop_record import renew_patience
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_position import (
    EPOCH_END,
    EVALUATION,
    STEP,
    read_position,
    read_start_orders,
    reads_before,
    settings_when_traced,
)
from ckptkit.keras.fit.fit_replay import EvaluationReplay, TrainReplay
from ckptkit.keras.fit.fit_stage import FitStage
from ckptkit.keras.fit.past_epochs import epochs_left_out
from ckptkit.keras.fit.redrawn_batches import (
    batches_from_start,
    reason_not_countable,
    redrawn_batches,
)
from ckptkit.keras.fit.same_data_check import data_changes, start_training, strategy_change
from ckptkit.tracking.leaves import Leaf, Tensors
from ckptkit.tracking.tracker import track

if TYPE_CHECKING:
    from ckptkit.run.checkpoint_catalog import Checkpoint

ModelValues = list[tuple[Leaf, Tensors]]


def start_resume(fit: FitContext, checkpoint: Checkpoint) -> FitResume:
    """Start to replay Keras' loops up to a checkpoint's position, hidden from other callbacks.

    Args:
        fit: what the parts of this `fit` share.
        checkpoint: the checkpoint to resume from.

    Raises:
        ConfigError: If it has no position in `fit`, or calls of the train function cannot reach it.
        IncompatibleStateError: If a later version wrote its position.
        CorruptCheckpointError: If it cannot be read.
    """
    fit.state.run_position = fit.session.start_from(checkpoint)
    fit.cleanup.add_on_failure(fit.session.resume.changes.undo)
    fit.cleanup.add_on_failure(fit.session.resume.undo_adapted)
    with fit.session.resume.reading(checkpoint):
        adapted = fit.session.resume.restore_adapted(checkpoint)
    changed = fit.session.resume.changes.apply()
    # Before the discarded step, because it runs code of the program.
    fit.session.tracked.note_constructed()
    with fit.session.resume.reading(checkpoint):
        moved = settings_when_traced(checkpoint)
    fit.session.resume.restore_settings(moved)
    if changed or adapted or moved:
        # A traced step contains optimizer arguments, vocabularies and settings as constants.
        fit.model.make_train_function(force=True)
    with fit.session.resume.reading(checkpoint):
        position = read_position(checkpoint, fit.state.position.per_call)
        orders = read_start_orders(checkpoint)
        change = strategy_change(reads_before(checkpoint), fit.call.reads_before)
    if change is not None:
        fit.session.inexact(change)
    if position.random is not None:
        fit.state.drawing.set_beginning(position.random, random=position.drawn_again is not None)
    if fit.call.is_split and position.drawn_again is None:
        position.drawn_again = reason_not_countable(checkpoint.manifest, position, fit.call)
    fit.state.position = position
    fit.find_captured(None)
    begins = epochs_left_out(fit.call, position, orders)
    resume = FitResume(
        fit,
        checkpoint,
        TrainReplay(
            position,
            _timed_first_step(fit),
            fit.call.epoch_iterator,
            counted=batches_from_start(checkpoint.manifest, position, fit.call),
            meter=fit.state.meter,
            orders=orders,
        ),
        EvaluationReplay(position, begins.evaluations),
        _values_of(fit),
    )
    fit.cleanup.add_on_failure(resume.undo)
    fit.session.phases.stopwatch.switch_to("drawing_again")
    fit.stages.move(FitStage.REPLAYING)
    keras_fit.set_initial_epoch(fit.model, begins.first_epoch)
    fit.others.hide()
    return resume


class FitResume:
    """Answers Keras' calls up to the checkpoint's position, and then assigns its state.

    Args:
        fit: what the parts of this `fit` share.
        checkpoint: the checkpoint to resume from.
        training: replays calls of the train function.
        evaluations: replays calls of the test function.
        untouched: the model's values before the first step, whose result is discarded.
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
        self._step = fit.model.train_function

    def undo(self) -> None:
        """Restore the model's previous values, because the resume has failed."""
        if self._fit.stages.is_replaying:
            _assign(self._untouched)

    # -- Keras' events on the way

    def epoch_began(self, epoch: int) -> None:
        """Note that Keras has begun an epoch."""
        self._training.epoch_began(epoch)
        position = self._fit.state.position
        # A kept iterator may have read ahead by more or fewer batches than in the earlier attempt.
        # So the random states from then do not match its next batch.
        kept = keras_fit.keeps_iterator(self._fit.call, self._training.iterator)
        if (
            epoch == position.epoch
            and position.drawn_again is not None
            and position.random_of_epoch is not None
        ):
            self._fit.state.drawing.set_epoch(position.random_of_epoch, drawn=not kept)

    def replay_train_call(self, iterator: Any, batch: int) -> bool:
        """Replay a call of the train function.

        Args:
            iterator: the argument of the call.
            batch: the number of the first batch of the call, from 0 in each epoch.

        Returns:
            Whether the call was replayed; False if it has to train.

        Raises:
            StopIteration: If the data had ended there.
            Preempted: After a request to stop.
        """
        session = self._fit.session
        session.beats += 1
        session.stopping.serve(leave=self._fit.cleanup.prepare_exit)
        self._training.meet(iterator)
        if self._training.arrives():
            self._restore(iterator)
            self.show_callbacks(lambda callback: callback.on_train_batch_begin(batch, logs={}))
            return False
        self._training.replay_call(iterator)
        if self._training.arrives_at_evaluation():
            self._restore(iterator)
        return True

    def evaluation_began(self) -> None:
        """Note that Keras has begun an evaluation."""
        # Read from the frame of Keras' loop, which is on the stack only here.
        made = keras_fit.evaluation_iterator()
        self._evaluations.evaluation_began(
            made if made is not self._fit.call.epoch_iterator else None
        )

    def evaluation_ended(self) -> None:
        """Note that the evaluation is over."""
        self._evaluations.evaluation_ended()

    def replay_test_call(self, iterator: Any) -> None:
        """Replay a call of the test function, or end the replay at a new evaluation.

        Raises:
            StopIteration: If the data had ended there.
        """
        if self._evaluations.is_new:
            keras_fit.skip_evaluation(self._fit.model)
        else:
            self._evaluations.replay_call(iterator)

    def check_data_reaches(self, epoch: int) -> None:
        """Check that an epoch did not end before the batch of the checkpoint.

        Raises:
            ConfigError: If it ended earlier, because the data is shorter now.
        """
        if epoch >= self._fit.state.position.epoch:
            raise ConfigError(
                f"The data of an epoch now ends before batch {self._checkpoint.manifest.batch}, "
                f"which this run has finished in epoch {epoch}. Restore the data, or name another "
                f"directory for a run on other data."
            )

    # -- at the position

    def _restore(self, iterator: Any) -> None:
        """Assign the checkpoint's state, after everything that Keras changes before a step."""
        fit, position = self._fit, self._fit.state.position
        if position.taken_at != EPOCH_END:
            self._begin_epoch(position.epoch)
        self._continue_data(iterator)
        pipeline, batches = describe(iterator), batches_of(iterator, fit.steps_per_epoch)
        for change in data_changes(position, pipeline, batches, self._evaluations.begun):
            fit.session.inexact(change)
        # The next checkpoint compares with these values.
        position.pipeline, position.batches = pipeline, batches
        # Data that was read again has already used its random numbers of Python and NumPy. With the
        # states of the checkpoint it would use them twice.
        fit.session.tracked.random.only_libraries = position.drawn_again is not None
        fit.find_captured(self._step)
        with fit.session.resume.reading(self._checkpoint):
            fit.state.run_position = fit.session.restore(self._checkpoint)
        fit.state.meter.drawn()
        self._restore_traced()
        if fit.session.resume.constants_changed:
            # The discarded step was traced with the program's own (Normalization).
            fit.model.make_train_function(force=True)
        fit.stages.move(FitStage.RESTORED)
        if not fit.state.position.now.calls:
            # A final snapshot is taken at the end of its epoch, before Keras resets the metrics.
            fit.model.reset_metrics()
        start_training(fit)

    def _begin_epoch(self, epoch: int) -> None:
        """Tell the callbacks that the epoch of the checkpoint begins."""
        fit, before = self._fit, self._fit.unbuilt
        with fit.session.tracked.attributes.settings.repeats_allowed():
            fit.others.tell(lambda callback: callback.on_epoch_begin(epoch, {}))
        # A callback may have called `compile`, and the step that has built everything is past.
        if fit.unbuilt != before:
            fit.build(by_a_step=False)

    def _continue_data(self, iterator: Any) -> None:
        """Note how much the run has read from the iterator that Keras reads from now."""
        fit, drawn = self._fit, self._training.made(iterator)
        counted = redrawn_batches(self._checkpoint.manifest)
        # A new iterator begins an epoch: what the checkpoint counts belongs to an earlier one.
        fit.state.since = counted.since if drawn else 0
        fit.state.reads_from(
            iterator,
            EarlierDraws(
                drawn=drawn,
                missing=self._training.missing(iterator),
                anchor=counted.anchor if drawn else None,
                orders=self._training.meet(iterator),
            ),
        )
        # An anchor that is restored brings its seeds along.
        restores = counted.anchor is not None and fit.state.missing_batches > counted.since
        if drawn and not restores and counted.has_other_order(iterator):
            fit.session.inexact(OTHER_ORDER)

    def _restore_traced(self) -> None:
        """Make the train function again if a callback had done so, to unfreeze layers.

        The first step was traced with the layers that the code trains.
        """
        fit = self._fit
        traced = [flag == "1" for flag in fit.state.loaded.get("traced", "")]
        if not traced or traced == fit.state.traced:
            return
        fit.state.traced = traced
        if traced == keras_models.trainable_flags(fit.model):
            fit.model.make_train_function(force=True)
        else:
            fit.session.inexact(
                "trainable was changed again after the train function was made, and a resume "
                "cannot trace that function as it was. Call model.make_train_function(force=True) "
                "after each change"
            )

    def show_callbacks(self, tell: Callable[[Any], None]) -> None:
        """End the replay: restore the other callbacks, which receive Keras' events again.

        If they had already received the current event when the state was taken, their changes to
        the model at this event are part of the saved state, and are undone. A state that was taken
        at the end of a batch or an epoch includes none of them, as the learning rate of the next
        epoch.

        Args:
            tell: passes the current event to a callback.
        """
        fit, position = self._fit, self._fit.state.position
        taken_at, position.taken_at = position.taken_at, STEP
        attributes = fit.session.tracked.attributes
        calls = (position.train_calls, position.test_calls)
        if taken_at in (STEP, EVALUATION):
            restored, drawing = _values_of(fit), fit.state.drawing.now()
            lost = fit.others.show(attributes, fit.state.loaded, tell, _nothing, *calls)
            _assign(restored)
            fit.state.drawing.set_now(drawing, drawn_again=position.drawn_again is not None)
        else:
            unseen = self._next_epoch(tell) if taken_at == EPOCH_END else tell
            lost = fit.others.show(attributes, fit.state.loaded, _nothing, unseen, *calls)
        self._untouched = []
        self._fit.stages.move(FitStage.TRAINING)
        for reason in lost:
            self._fit.session.inexact(reason)
        self._fit.session.tracked.attributes.report()

    def _next_epoch(self, tell: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a function that begins the resumed epoch for a callback, then calls `tell`."""
        epoch = self._fit.state.position.epoch
        stopped_early = bool(self._checkpoint.manifest.early_stop)

        def begin(callback: Any) -> None:
            if stopped_early:
                renew_patience(callback)
            callback.on_epoch_begin(epoch, {})
            tell(callback)

        return begin

    def pass_missing_evaluation(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """End the replay in an epoch whose evaluation the program no longer makes.

        Args:
            epoch: the epoch that ends.
            logs: the logs of the epoch.
        """
        self._fit.session.inexact(
            f"the run was stopped in the evaluation of epoch {epoch}, but fit has no evaluation now"
        )
        self.show_callbacks(lambda callback: None)
        # Keras is iterating over the list from which they were removed.
        self._fit.others.tell(lambda callback: callback.on_epoch_end(epoch, dict(logs)))


def _nothing(callback: Any) -> None:
    """Pass no event to a callback."""


def _timed_first_step(fit: FitContext) -> Callable[[Any], Any]:
    """Return the first step, which builds and traces the model; its result is discarded."""
    step = fit.model.train_function

    def first_step(iterator: Any) -> Any:
        with fit.session.phases.stopwatch.during("first_step"):
            logs = step(iterator)
        fit.note_traced()
        return logs

    return first_step


def _values_of(fit: FitContext) -> ModelValues:
    """Return the values of the model, and of the variables that its train step captures."""
    captured = fit.state.captured.leaves("fit") if fit.state.captured is not None else []
    leaves = (*track({"model": fit.model}).leaves, *captured)
    return [(leaf, leaf.capture()) for leaf in leaves]


def _assign(values: ModelValues) -> None:
    for leaf, tensors in values:
        leaf.assign(tensors)
