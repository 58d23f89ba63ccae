"""Goodput: which part of a run's wall time went into steps that count. Pure.

The definitions are those of Google's ml-goodput-measurement: productive training time / (last end - first start), gaps between attempts
included. Of saves only the part counts for which training stood still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KINDS: Mapping[str, str] = {
    "initialisation": "from the start of the program until it opened the run",
    "training_preparation": "from opening the run to its first step, without what is told below",
    "program_startup": "tracing and compiling",
    "data_loading": "waiting for data, as far as that is known",
    "checkpoint_save": "training stood still for saves",
    "checkpoint_restore": "reading and assigning checkpoints",
    "wasted_progress": "steps that were lost, and done again",
    "infrastructure_recovery": "from an interruption to the next start",
    "idle": "from a wanted end to the next start",
    "other": "everything else, as exports after the end",
}
"""What wall time is lost to, by its name in the `--json` form, in the order in which it is told; and the same in words."""


@dataclass(frozen=True, kw_only=True)
class Goodput:
    """Where the wall time of a run went, over the attempts of its present life.

    Args:
        start: of the first attempt, in seconds since the epoch; with its program's start, where that is known.
        end: of the last one; of one that still trains it is now, of one that was lost the last sign of life.
        wall_secs: the difference. All parts sum to it.
        productive_secs: steps that count, with the evaluations and callbacks between them.
        badput_secs: what the rest went to, by the names in `KINDS`; each is there.
    """

    start: float
    end: float
    wall_secs: float
    productive_secs: float
    badput_secs: Mapping[str, float]

    @property
    def ratio(self) -> float | None:
        """Productive time as a part of the wall time, from 0 to 1; None where no time has passed."""
        return self.productive_secs / self.wall_secs if self.wall_secs > 0 else None
