"""Begins a `fit`: decides between a new run, a resume and a finished run, and prepares it."""

from __future__ import annotations

from enum import Enum
from typing import Any

from ckptkit.compat import keras_fit, keras_models
from ckptkit.export.export_spec import ExportSpec
from ckptkit.keras.early_stop_record import EarlyStop
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_position import FitPosition
from ckptkit.keras.fit.fit_resume import FitResume, start_resume
from ckptkit.keras.fit.fit_stage import FitStage
from ckptkit.keras.fit.new_fit_position import new_fit_position
from ckptkit.keras.fit.skipped_fit_shuffles import make_skipped_passes, note_skipped_passes
from ckptkit.keras.repeated_fit_check import (
    check_not_finished_by_another,
    check_not_just_finished,
    finished_in_words,
)
from ckptkit.keras.same_training_check import (
    check_same_training,
    configured_in_code,
    warn_other_counts,
)
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.manifest import Manifest


class FitStart(Enum):
    """The ways to begin a `fit`: new run, resume, or nothing to train."""

    NEW_RUN = "new run"
    RESUME = "resume"
    ALREADY_FINISHED = "already finished"


def decide_start(
    newest: Manifest | None, epochs: int, *, early_stop_holds: bool = True
) -> FitStart:
    """Decide what a `fit` does with its run; pure.

    Args:
        newest: the manifest of the newest good checkpoint, or None if the run has none.
        epochs: the number of epochs of the whole run, as the code requests it now.
        early_stop_holds: whether what has stopped the run early, if it was, would still do so.
    """
    if newest is None:
        return FitStart.NEW_RUN
    # A final checkpoint may be before its total if EarlyStopping has ended that training.
    is_over = newest.final and (newest.total or 0) >= epochs and early_stop_holds
    if newest.epoch >= epochs or is_over:
        return FitStart.ALREADY_FINISHED
    return FitStart.RESUME


def with_direction(export: ExportSpec | None, model: Any) -> ExportSpec | None:
    """Return an export spec with the direction (min or max) of its metric, if it needs one.

    Args:
        export: how the model is published, or None.
        model: the model to train; its metrics may define their direction.

    Raises:
        ConfigError: If the direction was not given and cannot be inferred.
    """
    if export is None:
        return None
    return export.with_directions(keras_models.metric_directions(model))


def check_run(fit: FitContext, checkpoint: Checkpoint | None) -> None:
    """Check that this `fit` continues the training of the run, before anything is assigned.

    Args:
        fit: what the parts of this `fit` share.
        checkpoint: the newest good checkpoint, or None if the run has none.

    Raises:
        ConfigError: If another model has finished the run, other weights are trained, or a
            hyperparameter has changed and `changed` does not say which value counts. Also if
            exactness is required, and the number of replicas has changed.
    """
    if checkpoint is not None:
        check_not_finished_by_another(fit.session.options.layout, checkpoint, fit.model, fit.epochs)
        check_same_training(checkpoint, fit.session.options.state, fit.model)
        # Before the first step, which trains the model only to build it.
        replicas = fit.model.distribute_strategy.num_replicas_in_sync
        fit.session.exactness.check_replicas(checkpoint, replicas)
    fit.session.resume.changes.check(checkpoint, configured_in_code(fit.model, fit.call.batch_size))
    if checkpoint is not None:
        warn_other_counts(fit.session, checkpoint, fit.model, fit.call.initial_epoch)


def begin_fit(fit: FitContext, checkpoint: Checkpoint | None) -> FitResume | None:
    """Begin a new run or a resume; if the run is finished, only assign its weights.

    Args:
        fit: what the parts of this `fit` share.
        checkpoint: the newest good checkpoint, or None if the run has none.

    Returns:
        The resume, or None if the run is new or finished.

    Raises:
        ConfigError: If a `fit` of this process has finished the run, so nothing would be trained.
    """
    manifest = checkpoint.manifest if checkpoint is not None else None
    early = EarlyStop.from_record(manifest.early_stop) if manifest is not None else None
    holds = early is None or early.holds(fit.others)
    opening = decide_start(manifest, fit.epochs, early_stop_holds=holds)
    if opening is not FitStart.ALREADY_FINISHED:
        make_skipped_passes(fit.call.sources)
    if checkpoint is None:
        _start_new_run(fit)
        return None
    if opening is FitStart.ALREADY_FINISHED:
        check_not_just_finished(fit.session.options.layout, checkpoint, fit.epochs)
        _restore_finished_run(fit, checkpoint)
        return None
    return start_resume(fit, checkpoint)


def _start_new_run(fit: FitContext) -> None:
    options = fit.session.options
    if options.init_from is not None or options.adopt is not None:
        # Not by a step, whose training would stay in what is not loaded.
        fit.build(by_a_step=False)
    fit.session.start_from(None)
    fit.state.run_position = new_fit_position(fit)
    fit.session.tracked.note_constructed()
    fit.session.position = fit.state.run_position
    fit.stages.move(FitStage.STARTING)


def _restore_finished_run(fit: FitContext, checkpoint: Checkpoint) -> None:
    fit.build()
    fit.find_captured(None)
    with fit.session.resume.reading(checkpoint):
        fit.state.run_position = fit.session.restore(checkpoint)
    note_skipped_passes(fit.call, FitPosition.from_state(fit.state.loaded.get("place", {})))
    if checkpoint.manifest.final:
        fit.session.note_finished()
    fit.session.done = True
    fit.stages.move(FitStage.FINISHED_BEFORE)
    # Only in this way does Keras run no epoch and still call `on_train_end`.
    keras_fit.set_initial_epoch(fit.model, max(fit.epochs, fit.state.run_position.epoch))
    logger.info(
        "this run has finished: %s, so nothing is trained. To continue training, %s. For another "
        "run, pass fresh='a label' or name another directory, in which init_from=%r begins with "
        "these weights",
        *finished_in_words(checkpoint.manifest, fit.epochs),
        str(fit.session.options.layout.root),
    )
