"""Handles the end of a fit: saves the final state, and publishes the model.

Training ends with the last epoch, or earlier if a callback that judges the model stops it. A stop
by anything else, as a clock, leaves the run unfinished: the next start continues it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ckptkit.export.export_spec import ExportSpec
from ckptkit.keras.early_stop_record import EarlyStop, judges_model
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_position import BATCH_END, EPOCH_END, STEP
from ckptkit.keras.fit.fit_stage import FitStage
from ckptkit.keras.fit.plain_logs import not_finite
from ckptkit.keras.fit.publish_model import publish
from ckptkit.keras.repeated_fit_check import note_finished_model
from ckptkit.log import logger
from ckptkit.restore.newest_checkpoint import DivergedError
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.session.phase import SessionPhase
from ckptkit.session.run_completion import note_found_finished, note_trained_to_end
from ckptkit.session.snapshot_writer import Taken


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
        self._stopped: Taken | None = None
        self._thread = threading.get_ident()
        self._divergence: DivergedError | None = None

    def batch_ended(self) -> None:
        """Take a snapshot if training was stopped in the middle of an epoch.

        Keras leaves the epoch then, evaluates, and tells the callbacks that the epoch has ended. A
        run that was not stopped would not do so there, so none of that is part of the state.
        """
        fit = self._fit
        if (
            fit.stopped is None
            and fit.stages.now is FitStage.TRAINING
            # Keras may call callbacks of batches on other threads; none of those stops training.
            and threading.get_ident() == self._thread
            and not self._epoch_is_complete()
            and not judges_model(fit.others.stopped_by)
            and divergence(fit.state.position.logs) is None
        ):
            fit.stopped = self._take(BATCH_END)

    def _epoch_is_complete(self) -> bool:
        steps, state = self._fit.steps_per_epoch, self._fit.state
        return state.position.now.ended or (steps is not None and state.run_position.batch >= steps)

    def _take(self, taken_at: str) -> Taken:
        position = self._fit.state.position
        position.taken_at = taken_at
        taken = self._fit.session.take()
        position.taken_at = STEP
        return taken

    def leaves_epoch(self) -> bool:
        """Return whether the epoch that Keras ends now was left in its middle, to be continued."""
        fit = self._fit
        if not fit.model.stop_training:
            fit.stopped = None  # a later callback has cleared the attribute
            return False
        if fit.stopped is None and not self._epoch_is_complete():
            # Stopped by something else than a callback, as another thread, after the batch's end.
            self.batch_ended()
        if fit.stopped is None:
            return False
        self._stopped = fit.stopped
        fit.stages.move(FitStage.STOPPED)
        return True

    def withdraw(self) -> bool:
        """Undo the end of training, because Keras continues to train.

        Returns:
            Whether it had left an epoch in its middle.
        """
        was_left, self._fit.stopped = self._fit.stopped is not None, None
        self._final = self._stopped = self._divergence = None
        self._fit.session.progress.early_stop = {}
        return was_left

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
            fit.session.saves.discard()
        elif epoch + 1 >= fit.epochs or self._is_early_stop(epoch):
            fit.stages.move(FitStage.TRAINED)
            self._final = self._take(EPOCH_END)
        elif stopped:
            fit.stages.move(FitStage.STOPPED)
            self._stopped = self._take(EPOCH_END)

    def _is_early_stop(self, epoch: int) -> bool:
        """Return whether a callback that judges the model has ended training; records it."""
        by = self._fit.others.stopped_by
        if not self._fit.model.stop_training or not judges_model(by):
            return False
        self._fit.session.progress.early_stop = EarlyStop.by(by, epoch + 1).to_record()
        return True

    def finish(self) -> None:
        """Save the final state, publish the model, and close the run.

        Raises:
            BackgroundSaveError: If the final state, or an earlier one, could not be saved.
            Preempted: After a request to stop, with the state saved.
        """
        fit = self._fit
        fit.session.phases.stopwatch.switch_to("outside")
        fit.cleanup.put_back()
        error: BaseException | None = None
        try:
            if self._divergence is not None:
                error = self._divergence
                logger.warning("%s", error)
                return
            if self._stopped is not None:
                self._save_stopped(self._stopped)
                fit.session.stopping.serve(leave=fit.cleanup.prepare_exit)
                return
            self._finish_training()
            # A run that is stopped here publishes nothing; the next start publishes the model.
            fit.session.stopping.serve(leave=fit.cleanup.prepare_exit)
            self._publish()
            fit.session.stopping.serve(leave=fit.cleanup.prepare_exit)
            # Done last, because a fit that was stopped before this point may be called again.
            note_finished_model(fit.session.options.layout, fit.model)
            layout, step = fit.session.options.layout, fit.session.position.step
            if self._final is not None:
                note_trained_to_end(layout, step)
            else:
                note_found_finished(layout, step, f"epochs={fit.epochs}")
        except BaseException as caught:
            error = caught
            raise
        finally:
            fit.cleanup.close_run(error)

    def _save_stopped(self, taken: Taken) -> None:
        """Save the state of a run that was stopped before its end.

        Raises:
            BackgroundSaveError: If it, or an earlier one, could not be saved.
        """
        session, by = self._fit.session, self._fit.others.stopped_by
        who = type(by).__name__ if by is not None else "the program"
        session.saves.saver.finish()
        session.save(f"stopped by {who}", taken)
        session.saves.saver.wait()
        done = min(taken.position.epoch, self._fit.epochs)
        logger.info(
            "training was stopped by %s at %s, with %d of %d epochs done: that is saved, and the "
            "next start continues there. The run is not finished, so no model is published%s",
            who,
            taken.position,
            done,
            self._fit.epochs,
            f". If {who} stops because the model is done, give it the attribute judges_model = True"
            if by is not None
            else "",
        )

    def _finish_training(self) -> None:
        if self._final is not None:
            self._fit.session.finish(self._final)
        elif self._checkpoint is not None:
            self._fit.session.resume.assign_result(self._checkpoint)
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
        with self._fit.session.phases.stopwatch.during("exporting"):
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
