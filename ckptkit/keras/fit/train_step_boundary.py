"""Wraps the train function: saves and stops before each step, and counts batches after it.

A snapshot is taken at the entry of the train function, before step s+1. By then all callbacks of
step s and of an epoch's end have run, the metrics are complete, and the next epoch's iterator
exists.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_random_check import run_first_step
from ckptkit.keras.fit.fit_resume import FitResume
from ckptkit.keras.fit.fit_stage import FitStage
from ckptkit.keras.fit.plain_logs import named_logs
from ckptkit.keras.fit.same_data_check import note_data, start_training
from ckptkit.position import RunPosition
from ckptkit.session.phase import SessionPhase
from ckptkit.tracking.strategy_check import build_optimizer

DATA_ENDED = (StopIteration, tf.errors.OutOfRangeError)
"""The errors that a train or test function raises at the end of the data."""


class TrainFunction:
    """Replaces `model.train_function` during one `fit`.

    Args:
        fit: what the parts of this `fit` share.
        resume: replays the calls of earlier attempts, or None for a new run.
    """

    def __init__(self, fit: FitContext, resume: FitResume | None) -> None:
        self._fit = fit
        self._resume = resume
        self._original: Any = None
        self._checked = False
        self._noted = resume is not None
        # Keras announces each call with an event; a call without one belongs to another `fit`.
        self._announced_batch: int | None = None

    def install(self) -> None:
        """Replace the model's train function by this step.

        Keras looks up the function for each call, so the replacement takes effect at once.
        """
        self._original = self._fit.model.train_function
        self._fit.model.train_function = self._call

    def uninstall(self) -> None:
        """Restore the model's own train function, unless the program has replaced it."""
        if self._original is not None and self._fit.model.train_function == self._call:
            self._fit.model.train_function = self._original

    def announce(self, batch: int) -> None:
        """Note that Keras is about to call the train function.

        Args:
            batch: the number of the first batch of the call, from 0 in each epoch.
        """
        self._announced_batch = batch
        self.follow()

    def follow(self) -> None:
        """Replace a new train function that Keras has made.

        A callback makes Keras do so, for example to unfreeze layers; a resume does after a change
        of a preprocessing layer.
        """
        if self._fit.model.train_function not in (self._call, None):
            self.install()
            self._checked = self._noted = False
            if not self._fit.stages.is_replaying:
                # It is traced in the next step; a state that is saved before that needs to say so,
                # and needs the variables of an optimizer that `compile` has set.
                self._fit.note_traced()
                _build_optimizer(self._fit.model)

    def _call(self, iterator: Any) -> Any:
        batch, self._announced_batch = self._announced_batch, None
        if batch is None:
            # An exception has ended this fit, and the call belongs to a later fit. The other
            # callbacks may be in use there, so their files stay open.
            original = self._original
            self._fit.cleanup.abandon(close_files=False)
            return original(iterator)
        stages, position = self._fit.stages, self._fit.state.position
        try:
            if (
                self._resume is not None
                and stages.is_replaying
                and self._resume.replay_train_call(iterator, batch)
            ):
                return dict(position.logs)
            logs = self._train(iterator)
        except DATA_ENDED:
            self._fit.state.position.now.ended = not stages.is_replaying
            raise
        except BaseException as error:
            self._fit.cleanup.fail(error)
            raise
        self._count(batch, logs)
        return logs

    def _train(self, iterator: Any) -> Any:
        self.follow()
        self._fit.state.reads_from(iterator)
        if self._fit.stages.now is FitStage.STARTING:
            self._start_run(iterator)
        else:
            self._fit.session.save_if_due(leave=self._fit.cleanup.prepare_exit)
        return self._original(iterator) if self._checked else self._checked_step(iterator)

    def _start_run(self, iterator: Any) -> None:
        fit = self._fit
        fit.others.begin(fit.session.tracked.attributes)
        fit.session.tracked.attributes.report()
        note_data(fit, iterator)
        fit.stages.move(FitStage.TRAINING)
        start_training(fit)
        fit.session.phases.enter(SessionPhase.TRACING)
        fit.session.stopping.serve(leave=fit.cleanup.prepare_exit)

    def _checked_step(self, iterator: Any) -> Any:
        """Run the first step of this attempt, or of a new train function, and check it."""
        self._checked = True
        eager = self._fit.model.run_eagerly
        logs, report = run_first_step(self._original, iterator, eager=eager)
        self._fit.session.phases.enter(SessionPhase.TRAINING)
        self._fit.find_captured(self._original)
        report(self._fit.session.exactness)
        if not self._noted:
            self._noted = True
            self._fit.note_traced()
        return logs

    def _count(self, batch: int, logs: Any) -> None:
        state, steps = self._fit.state, self._fit.steps_per_epoch
        per_call = state.position.per_call
        # The last call of an epoch may have fewer batches.
        done = min(per_call, steps - batch) if steps else per_call
        before = state.run_position
        state.run_position = RunPosition(before.step + done, before.epoch, batch + done)
        state.position.now.calls += 1
        state.drawn += done
        state.position.logs = named_logs(logs)
        self._fit.session.step_done(state.run_position, state.position.logs, running_averages=True)


def _build_optimizer(model: Any) -> None:
    """Make the variables of a model's optimizer, as Keras does in the next step."""
    optimizer = model.optimizer
    if model.built and optimizer is not None and not optimizer.built:
        build_optimizer(optimizer, model.trainable_variables)
