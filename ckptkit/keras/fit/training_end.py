"""Handles the end of training: saves the final state, and publishes the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.export.export_spec import ExportSpec
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_stage import FitStage
from ckptkit.keras.fit.plain_logs import not_finite
from ckptkit.keras.fit.publish_model import publish
from ckptkit.keras.same_training_check import note_finished_model
from ckptkit.log import logger
from ckptkit.restore.newest_checkpoint import DivergedError
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.session.finish_record import note_trained_to_end
from ckptkit.session.phase import SessionPhase
from ckptkit.session.saver import Taken


class TrainingEnd:
    """Handles the end of training in one `fit`.

    Args:
        fit: what the parts of this `fit` share.
        checkpoint: the checkpoint from which it resumed, or None for a new run.
        export: how the model is published, or None.
    """

    def __init__(
        self, fit: FitContext, checkpoint: Checkpoint | None, export: ExportSpec | None
    ) -> None:
        self._fit = fit
        self._checkpoint = checkpoint
        self._export = export
        self._final: Taken | None = None
        self._divergence: DivergedError | None = None

    def epoch_ended(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Take a snapshot of the final state after the last epoch.

        Afterwards Keras may replace weights by averages or by the best ones. A longer training has
        to continue from the state before that.

        Args:
            epoch: the epoch that has ended.
            logs: the logs of the epoch.
        """
        fit = self._fit
        stopped = fit.model.stop_training
        self._divergence = divergence({**fit.state.position.logs, **logs}) if stopped else None
        if self._divergence is not None:
            fit.stages.move(FitStage.DIVERGED)
            fit.session.abandon()
        elif stopped or epoch + 1 >= fit.epochs:
            fit.stages.move(FitStage.TRAINED)
            self._final = fit.session.take()

    def finish(self) -> None:
        """Save the final state, publish the model, and close the run.

        Raises:
            BackgroundSaveError: If the final state, or an earlier one, could not be saved.
            Preempted: After a request to stop, with the state saved.
        """
        fit = self._fit
        fit.session.stopwatch.switch_to("outside")
        fit.cleanup.put_back()
        error: BaseException | None = None
        try:
            if self._divergence is not None:
                error = self._divergence
                logger.warning("%s", error)
                return
            self._finish_training()
            # A run that is stopped here publishes nothing; the next start publishes the model.
            fit.session.stopping.serve(leave=fit.cleanup.prepare_exit)
            self._publish()
            fit.session.stopping.serve(leave=fit.cleanup.prepare_exit)
            # Done last, because a fit that was stopped before this point may be called again.
            note_finished_model(fit.session.options.layout, fit.model)
            if self._final is not None:
                note_trained_to_end(fit.session.options.layout, fit.session.position.step)
        except BaseException as caught:
            error = caught
            raise
        finally:
            fit.cleanup.close_run(error)

    def _finish_training(self) -> None:
        if self._final is not None:
            self._fit.session.finish(self._final)
        elif self._checkpoint is not None:
            self._fit.session.assign_result(self._checkpoint)
            self._fit.others.give_back(self._fit.session.tracked.attributes, self._fit.state.loaded)

    def _publish(self) -> None:
        trained = self._final is not None
        finished_before = (
            self._fit.stages.now is FitStage.FINISHED_BEFORE
            and self._checkpoint is not None
            and self._checkpoint.manifest.final
        )
        if self._export is None or not (trained or finished_before):
            return
        # The phase stays, but time after the export must not count as exporting.
        with self._fit.session.stopwatch.during("exporting"):
            self._fit.session.phases.enter(SessionPhase.EXPORTING)
            publish(
                self._fit.session, self._fit.model, self._export, self._fit.call, trained=trained
            )


def divergence(logs: Mapping[str, Any]) -> DivergedError | None:
    """Return an error if logs are not finite, else None.

    Args:
        logs: the logs of the last step and of the epoch.
    """
    bad = not_finite(logs)
    if not bad:
        return None
    return DivergedError(
        f"Training was stopped with {', '.join(bad)}. Expected finite numbers, so this state is "
        "not saved as the end of the run, and no model is published. The next start resumes from "
        "before it, and ends in the same way unless something changes: a smaller learning rate "
        "with changed={'learning_rate': 'code'}, or clipnorm."
    )
