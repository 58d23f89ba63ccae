"""Finds the checkpoint to export at the end of `fit`, and the version that was published last."""

from __future__ import annotations

from pathlib import Path

from ckptkit.export.export_spec import ExportSpec
from ckptkit.exports.finite_weights import check_finite
from ckptkit.exports.version_directories import check_base
from ckptkit.layout import RunLayout
from ckptkit.run import events
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.fresh_start import this_life
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.stored_run import StoredRun


def exported_checkpoint(layout: RunLayout, spec: ExportSpec) -> Checkpoint:
    """Find the checkpoint whose weights are exported.

    Raises:
        CheckpointNotFoundError: If the run has no such checkpoint.
        ExportError: If its weights are not finite, unless the spec names its step.
    """
    found = StoredRun(layout).find(
        "latest" if spec.weights == "final" else spec.weights, monitor=spec.monitor, mode=spec.mode
    )
    if isinstance(spec.weights, str):
        check_finite(found.head, f"ExportSpec(weights={found.step})")
    return found


def base_directory(layout: RunLayout, spec: ExportSpec) -> Path:
    """Return the directory of the published versions."""
    return layout.export if spec.directory is None else check_base(spec.directory)


def last_published(layout: RunLayout, base: Path, step: int) -> Path | None:
    """Return the version that the run published last, if it has the given step.

    Args:
        layout: the layout of the run.
        base: the directory of the versions.
        step: the step to publish.

    Returns:
        Its directory; None if nothing was published in `base` since the last fresh start, or if the
            last version has another step.
    """
    exported = [
        event
        for event in this_life(read_journal(layout).events)
        if isinstance(event, events.Exported)
        and (layout.root / event.path).parent.resolve() == base.resolve()
    ]
    if not exported or exported[-1].step != step:
        return None
    return base / Path(exported[-1].path).name
