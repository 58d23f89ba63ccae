"""The events of a run's journal, by kind."""

from __future__ import annotations

import os
from typing import Any

import ckptkit
from ckptkit.run.events import Event
from ckptkit.run.stored_run import is_run


def events_of(run: str | os.PathLike[str], *kinds: str | type[Event]) -> list[Any]:
    """Return the events of these kinds from all attempts, in the journal's order.

    Args:
        run: the run directory. What is not a run yet has no events.
        *kinds: names, such as "saved", or classes of `ckptkit.run.events`.
    """
    if not is_run(run):
        return []
    names = {kind if isinstance(kind, str) else kind.event for kind in kinds}
    return [event for event in ckptkit.open_run(run).journal if event.event in names]
