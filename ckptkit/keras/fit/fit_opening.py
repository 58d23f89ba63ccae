"""Opens the run of one `fit`, and creates and connects the parts that drive it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckptkit.compat import keras_fit, tf_random
from ckptkit.export.export_spec import ExportSpec
from ckptkit.keras.fit.evaluation_stop import EvaluationFunction
from ckptkit.keras.fit.fit_cleanup import FitCleanup, FitExitWatch
from ckptkit.keras.fit.fit_context import FitContext
from ckptkit.keras.fit.fit_event_dispatch import FitEvents
from ckptkit.keras.fit.fit_stage import FitStage, FitStages
from ckptkit.keras.fit.fit_start_decision import begin_fit, check_run, with_direction
from ckptkit.keras.fit.fit_state import state_at_beginning
from ckptkit.keras.fit.train_step_boundary import TrainFunction
from ckptkit.keras.fit.training_end import TrainingEnd
from ckptkit.keras.user_callbacks import OtherCallbacks
from ckptkit.manager import CheckpointManager
from ckptkit.session.phase import SessionPhase


def open_fit(
    manager: CheckpointManager,
    export: ExportSpec | None,
    model: Any,
    others: OtherCallbacks,
    call: keras_fit.FitCall,
    params: Mapping[str, Any],
) -> FitEvents:
    """Open the run of a `fit`, and find the position at which the `fit` begins.

    The state is assigned later, when Keras' loops have reached that position. By then the other
    callbacks have handled the beginning of training and of the epoch, and the state overwrites
    their changes.

    Args:
        manager: the manager of the run.
        export: how the model is published, or None.
        model: the model that is trained.
        others: the other callbacks.
        call: what the `fit` was called with.
        params: Keras' parameters for callbacks: `epochs` of the whole run, and `steps` (the number
            of batches of an epoch, or None).

    Raises:
        ConfigError: If the run belongs to another training.
        RunLockedError: If the run is being trained.
        CorruptCheckpointError: If no checkpoint of the run can be read.
    """
    export = with_direction(export, model)
    fit = _open_context(manager, model, others, call, params)
    try:
        driver = _driver_of(fit, export)
    except BaseException as error:
        fit.cleanup.fail(error)
        raise
    watch = FitExitWatch(call.callback_list, fit.cleanup.fail_if_open, fit.cleanup.abandon)
    fit.cleanup.add(watch.end)
    return driver


def _open_context(
    manager: CheckpointManager,
    model: Any,
    others: OtherCallbacks,
    call: keras_fit.FitCall,
    params: Mapping[str, Any],
) -> FitContext:
    # The list of callbacks must be deleted when fit ends, so no longer-lived object refers to it.
    call = replace(call, callback_list=None)
    state = state_at_beginning(model, others, call)
    session = manager.open_session({"model": model, "fit": state})
    state.measure(session.options.anchors, session.options.clock.monotonic)
    others.use_journal(session.journal, session.options.layout)
    session.total = params.get("epochs", 1)
    session.saves.monitors.epochs_are_alike = True
    # With `validation_freq`, the first epochs have no evaluation yet.
    session.saves.monitors.may_come_later = lambda name: (
        name.startswith("val_") and call.validates and not state.position.evaluations
    )
    stages = FitStages()
    cleanup = FitCleanup(manager, session, others, stages)
    cleanup.add(lambda: keras_fit.set_initial_epoch(model, None))
    return FitContext(
        model=model,
        call=call,
        epochs=params.get("epochs", 1),
        steps_per_epoch=params.get("steps"),
        session=session,
        others=others,
        state=state,
        stages=stages,
        cleanup=cleanup,
    )


def _driver_of(fit: FitContext, export: ExportSpec | None) -> FitEvents:
    checkpoint = fit.session.resume.newest()
    check_run(fit, checkpoint)
    if fit.session.options.exact == "replace":
        retrace(fit.model)
    resume = begin_fit(fit, checkpoint)
    train_step, evaluation = TrainFunction(fit, resume), EvaluationFunction(fit, resume)
    fit.cleanup.add(train_step.uninstall)
    fit.cleanup.add(evaluation.uninstall)
    if fit.stages.now is not FitStage.FINISHED_BEFORE:
        train_step.install()
        fit.session.phases.enter(SessionPhase.TRACING)
    return FitEvents(fit, resume, train_step, evaluation, TrainingEnd(fit, checkpoint, export))


def retrace(model: Any) -> None:
    """Make a model's functions anew that were traced with stateful random operations.

    An earlier `fit` or `evaluate` has traced them. The new ones are traced while the run is open,
    so that `exact="replace"` applies to them.
    """
    for function, make in (
        (model.train_function, model.make_train_function),
        (model.test_function, model.make_test_function),
    ):
        if tf_random.stateful_random_ops(function):
            make(force=True)
