"""What a session saves: the user's state, with the session's own entries in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.data.loop_data import LoopData
from ckptkit.restore.adapted_restore import AdaptedRestore
from ckptkit.tracking import hyperparameters
from ckptkit.tracking.python_state import ProcessRandom
from ckptkit.tracking.tracker import Tracked, Tracker


class TrackedState:
    """Everything that a checkpoint of this session holds.

    Args:
        state: the user's state, by name.
        inexact: called with a reason why the run cannot continue bit for bit.

    Attributes:
        data: the position in the data of `manager.data`.
        random: the random states of the process.
        state: the user's state, and these two.
        tracker: finds the tensors of the state.
        adapted: restores what preprocessing layers have learnt.
    """

    def __init__(self, state: Mapping[str, Any], inexact: Callable[[str], None]) -> None:
        self.data = LoopData(inexact)
        self.random = ProcessRandom()
        self.state = {**state, "loop": self.data, "process": self.random}
        self.tracker = Tracker(self.state)
        self.adapted = AdaptedRestore()

    def now(self) -> Tracked:
        """Return the leaves to save now; the structure may change while training runs."""
        return self.tracker.track_now()

    def saw_iterations(self, iterations: int) -> bool:
        """Return whether an earlier session of this process left an optimizer as it is now."""
        return hyperparameters.remembers_iterations(self.state, iterations)
