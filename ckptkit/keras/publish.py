"""The end of training: is it one, and the model that leaves it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckptkit.errors import CheckpointError, ConfigError
from ckptkit.export.saved_model import export_saved_model
from ckptkit.keras.place import not_finite
from ckptkit.log import logger
from ckptkit.manager.attempt import Attempt
from ckptkit.resume.newest import DivergedError
from ckptkit.store import events
from ckptkit.store.tidying import tell


def divergence(logs: Mapping[str, Any]) -> DivergedError | None:
    """What there is to say of a training that was stopped with these numbers; None where they are finite."""
    bad = not_finite(logs)
    if not bad:
        return None
    return DivergedError(
        f"Training was stopped with {', '.join(bad)}. Expected finite numbers, so this state is not saved as the end of the run, and no model is "
        f"published. The next start goes on before it, and comes to the same place unless something changes: a smaller learning rate with "
        f"changed={{'learning_rate': 'code'}}, or clipnorm.")


def publish(attempt: Attempt, model: Any, export: Any, step: int) -> None:
    """Exports the model, where the user has said; a failure costs neither `fit`'s return value nor a checkpoint."""
    attempt.phase = "exporting"
    layout = attempt.plan.layout
    base = layout.export if export is True else Path(export)
    began = time.monotonic()
    try:
        path = export_saved_model(model, base)
    except (CheckpointError, ConfigError) as error:
        tell(attempt.journal, events.ExportFailed(error=type(error).__name__, message=str(error)))
        warnings.warn(f"{error} Training and its checkpoints are not affected.", stacklevel=2)
        return
    shown = path.relative_to(layout.root) if path.is_relative_to(layout.root) else path
    tell(attempt.journal, events.Exported(path=str(shown), step=step, secs=time.monotonic() - began))
    logger.info("published the model as %s", path)
