"""Keeps a snapshot in reserve between two turns, for a turn that is left in its middle.

Such a turn has trained, and does not count. So the current state belongs to no step, and must not
be saved under one. What can be saved is a snapshot from before the turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ckptkit.errors import ConfigError
from ckptkit.position import RunPosition
from ckptkit.session.snapshot_writer import Taken

SHARE = 0.005
"""The share of the training time that these snapshots may take."""

ALLOWED_SECS = 0.05
"""What they may take at the start, before any time has been earned: nobody notices it."""

MOST_BYTES = 64_000_000
"""The largest state that is kept in reserve. A copy of a larger one would take memory that the
training may need.
"""

_COPY_BYTES_PER_SEC = 1e9
"""Training's next update copies each variable that the snapshot shares; the time of that is not
measured, so it is estimated with a low speed of memory.
"""


class Holder(Protocol):
    """Holds the snapshot, which is also written if the machine goes away in a long turn."""

    reserve: Taken | None


class Positioned(Protocol):
    """What knows the position of the run."""

    position: RunPosition


class Schedule(Protocol):
    """What `TurnReserve` needs to know what is saved, and to take a snapshot."""

    @property
    def saved_at(self) -> RunPosition: ...

    @property
    def unwritten(self) -> Taken | None: ...

    def take_if_idle(self) -> Taken | None: ...

    def state_bytes(self) -> int: ...


@dataclass(frozen=True)
class PartialTurn:
    """A turn that was left in its middle.

    Args:
        taken: the snapshot to save in place of the current state, or None if none is newer than
            what is saved.
        position: the position from which the next start resumes.
    """

    taken: Taken | None
    position: RunPosition


class TurnReserve:
    """Takes a snapshot after a turn, as often as its cost allows.

    Args:
        holder: keeps the newest snapshot.
        saves: takes the snapshots, and knows what is saved.
        progress: the position of the run.
        monotonic: the clock by which time is earned.
    """

    def __init__(
        self,
        holder: Holder,
        saves: Schedule,
        progress: Positioned,
        monotonic: Callable[[], float],
    ) -> None:
        self._holder, self._saves, self._progress = holder, saves, progress
        self._monotonic = monotonic
        self._copy_secs: float | None = None
        """How long the copies of one snapshot take; infinite if none is to be taken."""
        self._cost_secs = 0.0
        self._earned_secs, self._earned_at = ALLOWED_SECS, monotonic()

    def disable(self) -> None:
        """Take no snapshots from now on."""
        self._copy_secs = math.inf

    def of(self, position: RunPosition) -> PartialTurn | None:
        """Return the newest snapshot if it was taken at a position, else None."""
        taken = self._holder.reserve
        exact = taken is not None and taken.position == position
        return PartialTurn(taken, position) if exact else None

    def turn_done(self) -> None:
        """Take a snapshot, if that is affordable; called between two turns."""
        if self._copy_secs is None:
            size = self._saves.state_bytes()
            self._copy_secs = size / _COPY_BYTES_PER_SEC if size <= MOST_BYTES else math.inf
        began = self._monotonic()
        most = max(ALLOWED_SECS, 2 * (self._cost_secs + self._copy_secs))
        self._earned_secs = min(self._earned_secs + SHARE * (began - self._earned_at), most)
        self._earned_at = began
        if self._saves.saved_at == self._progress.position:
            self._holder.reserve = None
        elif self._cost_secs + self._copy_secs <= self._earned_secs:
            self._refresh(began, self._copy_secs)

    def _refresh(self, began: float, copy_secs: float) -> None:
        try:
            taken = self._saves.take_if_idle()
        except ConfigError:
            # A part of the state cannot be saved. The first save that is due raises that.
            self._copy_secs = math.inf
            return
        if taken is not None:
            self._holder.reserve = taken
            self._cost_secs = self._monotonic() - began
            self._earned_secs -= self._cost_secs + copy_secs

    def instead(self) -> PartialTurn:
        """Return what can be saved in place of the current state."""
        taken, saved = self._holder.reserve, self._saves.saved_at
        if taken is not None and taken.position.step > saved.step:
            return PartialTurn(taken, taken.position)
        # The save before this turn may have failed since; its snapshot can be written again.
        failed = self._saves.unwritten
        return PartialTurn(failed if failed and failed.position == saved else None, saved)
