"""Wraps the evaluation of an epoch: a stop during it saves the state from before it."""

from __future__ import annotations

from typing import Any

from ckptkit.data.iterator_state import reason_not_savable
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_position import EVALUATION, STEP, EpochPass
from ckptkit.keras.fit.fit_resume import FitResume
from ckptkit.keras.fit.fit_stage import FitStage
from ckptkit.keras.fit.plain_logs import named_logs
from ckptkit.keras.fit.train_step_boundary import DATA_ENDED
from ckptkit.session.phase import SessionPhase
from ckptkit.session.snapshot_writer import Taken


class EvaluationFunction:
    """Replaces `model.test_function` during the evaluations of one `fit`.

    A request to stop inside an evaluation saves the state from before it, because a resume cannot
    continue in the middle of an evaluation.

    Args:
        fit: what the parts of this `fit` share.
        resume: replays the calls of earlier attempts, or None for a new run.
    """

    def __init__(self, fit: FitContext, resume: FitResume | None) -> None:
        self._fit = fit
        self._resume = resume
        self._original: Any = None
        self._pass = EpochPass()
        self._before: Taken | None = None
        self._stage_before = FitStage.TRAINING

    def uninstall(self) -> None:
        """Restore the model's own test function, unless the program has replaced it."""
        if self._original is not None and self._fit.model.test_function == self._call:
            self._fit.model.test_function = self._original

    def began(self) -> None:
        """Take a snapshot before an evaluation, to save if a stop is requested inside it."""
        fit = self._fit
        self._original, fit.model.test_function = fit.model.test_function, self._call
        if self._resume is not None and fit.stages.is_replaying:
            if fit.stages.now is FitStage.REPLAYING:
                self._resume.evaluation_began()
                return
            self._resume.show_callbacks(lambda callback: callback.on_test_begin({}))
        fit.session.phases.enter(SessionPhase.EVALUATING)
        self._stage_before = fit.stages.now
        fit.stages.move(FitStage.EVALUATING)
        self._pass = EpochPass()
        # Also kept in reserve: another thread saves it if the training thread reaches no safe point
        # before the machine goes away. After a stop in the middle of an epoch, Keras evaluates
        # before it leaves, and the run continues in the middle.
        self._before = fit.session.stopping.reserve = fit.stopped or self._take_before()
        self.serve_stop()

    def _take_before(self) -> Taken:
        position = self._fit.state.position
        position.taken_at = EVALUATION
        taken = self._fit.session.take()
        position.taken_at = STEP
        return taken

    def serve_stop(self) -> None:
        """Serve a request to stop between two batches, with the state from before the evaluation.

        Raises:
            Preempted: After a request to stop, with the state saved.
        """
        stopping = self._fit.session.stopping
        if self._before is not None and stopping.requested:
            stopping.serve(self._before, leave=self._fit.cleanup.prepare_exit)

    def ended(self) -> None:
        """Note that the evaluation is over, and serve a request to stop.

        Raises:
            Preempted: After a request to stop, with the state saved.
        """
        fit = self._fit
        fit.model.test_function, self._original = self._original, None
        if fit.stages.is_replaying:
            if self._resume is not None:
                self._resume.evaluation_ended()
            return
        fit.state.position.evaluations.append(self._pass)
        if self._before is not None:
            fit.session.saves.note_evaluated(self._before)
        self.serve_stop()
        self._before = fit.session.stopping.reserve = None
        fit.session.phases.enter(SessionPhase.TRAINING)
        fit.stages.move(self._stage_before)

    def _call(self, iterator: Any) -> Any:
        position = self._fit.state.position
        self._fit.session.beats += 1
        if self._resume is not None and self._fit.stages.is_replaying:
            self._resume.replay_test_call(iterator)
            # A custom `evaluate` may read its metrics from the logs.
            return dict(position.evaluation_logs)
        if not position.evaluations and not self._pass.calls:
            position.evaluation_drawn_again = reason_not_savable(iterator)
        try:
            logs = self._original(iterator)
        except DATA_ENDED:
            self._pass.ended = True
            raise
        except BaseException as error:
            self._fit.cleanup.fail(error)
            raise
        self._pass.calls += 1
        position.evaluation_logs = named_logs(logs)
        return logs
