"""`FitEvents` receives Keras' events of one `model.fit` and passes each to the right part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.keras.fit.evaluation_stop import EvaluationFunction
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_position import EpochPass
from ckptkit.keras.fit.fit_resume import FitResume
from ckptkit.keras.fit.fit_stage import FitStage
from ckptkit.keras.fit.plain_logs import named_logs
from ckptkit.keras.fit.train_step_boundary import TrainFunction
from ckptkit.keras.fit.training_end import TrainingEnd
from ckptkit.position import RunPosition


class FitEvents:
    """Receives Keras' events of one `fit` after its run was opened.

    Args:
        fit: what the parts of this `fit` share.
        resume: the resume of an earlier attempt, or None.
        train_step: replaces the model's train function.
        evaluation: replaces the model's test function in evaluations.
        end: handles the end of training.
    """

    def __init__(
        self,
        fit: FitContext,
        resume: FitResume | None,
        train_step: TrainFunction,
        evaluation: EvaluationFunction,
        end: TrainingEnd,
    ) -> None:
        self._fit = fit
        self._resume = resume
        self._train_step = train_step
        self._evaluation = evaluation
        self._end = end

    @property
    def is_open(self) -> bool:
        """Whether the run is open for this `fit`."""
        return self._fit.cleanup.is_open

    def abandon(self) -> None:
        """Close the run, because an exception has ended `fit` and Keras calls no further event."""
        self._fit.cleanup.abandon()

    def epoch_began(self, epoch: int) -> None:
        """Handle the event that an epoch begins."""
        fit = self._fit
        if self._resume is not None and fit.stages.is_replaying:
            self._resume.epoch_began(epoch)
            return
        # After the last epoch, Keras begins another one only if `model.stop_training` was cleared.
        if fit.stages.has_ended:
            fit.stages.move(FitStage.TRAINING)
            fit.others.forget_stop()
            if self._end.withdraw():  # Keras has counted the epoch that was left in its middle
                self._count_epoch(epoch - 1, {})
        fit.state.position.random_of_epoch = fit.state.drawing.at_epoch()
        fit.state.run_position = RunPosition(fit.state.run_position.step, epoch, 0)

    def batch_began(self, batch: int) -> None:
        """Handle the event that Keras calls the train function for the batches from `batch` on."""
        self._train_step.announce(batch)

    def batch_ended(self) -> None:
        """Handle the end of a batch in which training was stopped."""
        self._end.batch_ended()

    def evaluation_began(self) -> None:
        """Handle the event that an epoch's evaluation begins."""
        # A callback may have changed the model after the last batch, and a stop saves from here.
        self._train_step.follow()
        self._evaluation.began()

    def evaluation_batch_began(self) -> None:
        """Handle the event that Keras calls the test function."""
        self._evaluation.serve_stop()

    def evaluation_ended(self) -> None:
        """Handle the event that an epoch's evaluation is over."""
        self._evaluation.ended()

    def epoch_ended(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Handle the event that an epoch is complete.

        Raises:
            ConfigError: If its data ended before the batch of the restored checkpoint.
        """
        fit = self._fit
        if self._resume is not None:
            # After an epoch with an evaluation, the evaluation has already left this stage.
            if fit.stages.now is FitStage.RESTORED:
                self._resume.pass_missing_evaluation(epoch, logs)
            if fit.stages.now is FitStage.REPLAYING:
                self._resume.check_data_reaches(epoch)
                return
        if self._end.leaves_epoch():
            return
        # Before the final snapshot: a longer training resumes at the beginning of the next epoch.
        self._count_epoch(epoch, logs)
        self._end.epoch_ended(epoch, logs)

    def _count_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        state = self._fit.state
        state.position.epochs.append(state.position.now)
        state.position.now = EpochPass()
        state.position.random_of_epoch = state.drawing.at_epoch()
        state.run_position = RunPosition(state.run_position.step, epoch + 1, 0)
        self._fit.session.step_done(state.run_position, named_logs(logs))

    def training_ended(self) -> None:
        """Handle the end of training: save the final state, publish the model, close the run."""
        self._end.finish()
