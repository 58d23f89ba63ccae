"""Publishes the trained model at the end of `fit`; a failure leaves all checkpoints intact."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ckptkit.compat import keras_fit
from ckptkit.errors import CheckpointError
from ckptkit.export.export_spec import ExportSpec
from ckptkit.export.publishing import Published, export, in_words
from ckptkit.export.served_versions import superseded
from ckptkit.exports.export_record import ExportSource
from ckptkit.keras.fit.export_inputs import inputs_of_fit
from ckptkit.keras.fit.exported_checkpoint import (
    base_directory,
    exported_checkpoint,
    last_published,
)
from ckptkit.log import logger
from ckptkit.restore.assign import weights_of
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.session.session import Session
from ckptkit.tracking.tracker import track


def publish(
    session: Session, model: Any, spec: ExportSpec, call: keras_fit.FitCall, *, trained: bool
) -> None:
    """Export the model as the user has configured.

    A failure is a warning and an event in the journal. `fit` still returns, and all checkpoints
    stay.

    Args:
        session: the open session with the run.
        model: the trained model.
        spec: how it is exported.
        call: what the `fit` was called with.
        trained: whether this `fit` has trained. If not, a version that is already published stays.

    Raises:
        Exception: If the export failed, and `spec` has `errors="raise"`.
    """
    began = time.monotonic()
    try:
        layout = session.options.layout
        base = base_directory(layout, spec)
        checkpoint = exported_checkpoint(layout, spec)
        before = None if trained else last_published(layout, base, checkpoint.step)
        if before is not None and (reason := superseded(base, before)):
            logger.info("%s", reason)
            return
        published = _export(session, model, spec, call, base, checkpoint, before)
    # Any error is only reported: training is over and saved, so `fit` should return normally.
    except Exception as error:
        failed = events.ExportFailed(error=type(error).__name__, message=str(error))
        session.journal.record(failed)
        if spec.errors == "raise":
            raise
        warnings.warn(_warning_of(error), stacklevel=2)
        return
    if published.path != before:  # otherwise the journal already has this event
        _record(session, checkpoint, published, time.monotonic() - began)


def _export(
    session: Session,
    model: Any,
    spec: ExportSpec,
    call: keras_fit.FitCall,
    base: Path,
    checkpoint: Checkpoint,
    before: Path | None,
) -> Published:
    source = ExportSource(
        step=checkpoint.step,
        checkpoint=str(checkpoint.name),
        weights=spec.weights if isinstance(spec.weights, str) else "step",
    )
    # The model has its final weights. Other weights are assigned for the export, and then undone.
    with (
        nullcontext()
        if spec.weights == "final"
        else weights_of(checkpoint, track(session.options.state), best=spec.weights == "best")
    ):
        return export(
            model,
            base,
            spec,
            source=source,
            data=inputs_of_fit(call),
            mine=before,
            files=session.options.files,
            hurried=_half_of_grace(session),
        )


def _warning_of(error: Exception) -> str:
    reason = (
        str(error)
        if isinstance(error, CheckpointError)
        else f"The model could not be exported: {type(error).__name__}: {error}."
    )
    return f"{reason} Training and its checkpoints are not affected."


def _record(session: Session, checkpoint: Checkpoint, published: Published, secs: float) -> None:
    root, path, record = session.options.layout.root.absolute(), published.path, published.record
    # A relative path stays right if the run directory is moved.
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    session.journal.record(
        events.Exported(
            path=str(shown),
            step=checkpoint.step,
            secs=secs,
            check_secs=record.check_secs if published.is_new else 0.0,
            proof=in_words(
                {name: signature.proof for name, signature in record.signatures.items()}
            ),
        )
    )


def _half_of_grace(session: Session) -> Callable[[], bool]:
    """Return a function that says whether half of the grace period after a stop request is over.

    If so, the export is aborted, and the next start publishes the model.
    """
    clock, requested_at = session.options.clock, list[float]()

    def hurried() -> bool:
        if session.stopping.requested and not requested_at:
            requested_at.append(clock.monotonic())
        half_secs = session.options.preemption.grace_secs / 2
        return bool(requested_at) and clock.monotonic() - requested_at[0] > half_secs

    return hurried
