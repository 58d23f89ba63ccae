"""The end of training: is it one, and the model that leaves it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras

from ckptkit.compat import keras_fit
from ckptkit.errors import CheckpointError
from ckptkit.export.export_spec import ExportSpec
from ckptkit.export.publishing import export, in_words
from ckptkit.export.served_versions import superseded
from ckptkit.export.signatures import DataForm
from ckptkit.exports.export_record import ExportSource
from ckptkit.exports.version_directories import check_base
from ckptkit.keras.fit.fit_position import not_finite
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.restore.assign import weights_of
from ckptkit.restore.newest_checkpoint import DivergedError
from ckptkit.run import events
from ckptkit.run.catalog import Checkpoint
from ckptkit.run.fresh_start import this_life
from ckptkit.run.journal import read_journal
from ckptkit.run.stored_run import StoredRun
from ckptkit.session.session import Session
from ckptkit.tracking.tracker import track


def divergence(logs: Mapping[str, Any]) -> DivergedError | None:
    """What there is to say of a training that was stopped with these numbers; None where they are
    finite.
    """
    bad = not_finite(logs)
    if not bad:
        return None
    return DivergedError(
        f"Training was stopped with {', '.join(bad)}. Expected finite numbers, so this state is "
        "not saved as the end of the run, and no model is "
        "published. The next start goes on before it, and comes to the same place unless "
        "something changes: a smaller learning rate with "
        f"changed={{'learning_rate': 'code'}}, or clipnorm."
    )


def data_form(call: keras_fit.FitCall) -> DataForm:
    """What a `fit` knows of its inputs, which may be nothing. Nothing is drawn from its data."""
    try:
        specs = (
            None
            if call.element_spec is None
            else keras.utils.unpack_x_y_sample_weight(call.element_spec)[0]
        )
        return DataForm(specs, keras_fit.rows_in_memory(call))
    except Exception as error:
        # A train step of the user's own takes batches of any form, as four parts. The model says
        # itself what it is called with.
        logger.debug("what the model is called with is not taken from the data of fit: %s", error)
        return DataForm()


def _published_last(layout: RunLayout, base: Path, step: int) -> Path | None:
    """The version that this life has published last in a base directory, where that is of a step."""
    told = [
        event
        for event in this_life(read_journal(layout).events)
        if isinstance(event, events.Exported)
    ]
    last = next(
        (
            event
            for event in reversed(told)
            if (layout.root / event.path).parent.resolve() == base.resolve()
        ),
        None,
    )
    return base / Path(last.path).name if last is not None and last.step == step else None


def _base(layout: RunLayout, spec: ExportSpec) -> Path:
    return (layout.export if spec.directory is None else check_base(spec.directory)).absolute()


def publish(
    attempt: Session, model: Any, spec: ExportSpec, call: keras_fit.FitCall, *, trained: bool
) -> None:
    """Exports the model as the user has said; a failure costs neither `fit`'s return value nor a
    checkpoint.

    Args:
        attempt: of the run.
        model: what was trained.
        spec: how it is exported.
        call: the `fit`.
        trained: whether this `fit` has; one that met a finished run leaves what others have
            published since then.

    Raises:
        Exception: where it failed, and `spec` says that this is an error.
    """
    attempt.phase = "exporting"
    layout = attempt.plan.layout
    began = time.monotonic()
    try:
        base = _base(layout, spec)
        checkpoint = _chosen(attempt, spec)
        before = None if trained else _published_last(layout, base, checkpoint.step)
        if before is not None and (said := superseded(base, before)):
            logger.info("%s", said)
            return
        source = ExportSource(
            step=checkpoint.step,
            checkpoint=str(checkpoint.name),
            weights=spec.weights if isinstance(spec.weights, str) else "step",
        )
        # What training ended with is in the model.
        with (
            nullcontext()
            if spec.weights == "final"
            else weights_of(checkpoint, track(attempt.plan.state))
        ):
            published = export(
                model,
                base,
                spec,
                source=source,
                data=data_form(call),
                mine=before,
                files=attempt.plan.files,
                hurried=_half_of_grace(attempt),
            )
    # whatever it is: the training is over and saved, and would be no better for ending so
    except Exception as error:
        attempt.journal.record(events.ExportFailed(error=type(error).__name__, message=str(error)))
        if spec.errors == "raise":
            raise
        said = (
            str(error)
            if isinstance(error, CheckpointError)
            else f"The model could not be exported: {type(error).__name__}: {error}."
        )
        warnings.warn(f"{said} Training and its checkpoints are not affected.", stacklevel=2)
        return
    path, record = published.path, published.record
    if path == before:
        return  # that is in the journal
    root = layout.root.absolute()
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    attempt.journal.record(
        events.Exported(
            path=str(shown),
            step=checkpoint.step,
            secs=time.monotonic() - began,
            check_secs=record.check_secs if published.is_new else 0.0,
            proof=in_words(
                {name: signature.proof for name, signature in record.signatures.items()}
            ),
        ),
    )


def _half_of_grace(attempt: Session) -> Callable[[], bool]:
    """Says whether the run was told to stop, and half of the time for that is over; the next start
    publishes what this one could not.
    """
    clock, asked = attempt.plan.clock, list[float]()

    def hurried() -> bool:
        if attempt.stopping.requested and not asked:
            asked.append(clock.monotonic())
        return bool(asked) and clock.monotonic() - asked[0] > attempt.plan.preemption.grace_secs / 2

    return hurried


def _chosen(attempt: Session, spec: ExportSpec) -> Checkpoint:
    run = StoredRun(attempt.plan.layout)
    return run.find(
        "latest" if spec.weights == "final" else spec.weights, monitor=spec.monitor, mode=spec.mode
    )
