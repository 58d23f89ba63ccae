"""The state that a session saves: the user's objects, random states and data positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.data.loop_data import LoopData
from ckptkit.restore.adapted_restore import AdaptedRestore
from ckptkit.tracking import hyperparameters
from ckptkit.tracking.python_state import ProcessRandom
from ckptkit.tracking.tracker import Tracked, Tracker


class TrackedState:
    """All objects that a checkpoint of this session contains.

    Args:
        state: the user's state, by name.
        inexact: called with a reason why the run cannot continue bit for bit.

    Attributes:
        data: the positions in the datasets of `manager.data`.
        random: the random states of the process.
        state: the user's state, together with `data` and `random`.
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
        """Return the leaves to save now; they may change while training runs."""
        return self.tracker.track_now()

    def saw_iterations(self, iterations: int) -> bool:
        """Return whether an optimizer is unchanged since an earlier session of this process."""
        return hyperparameters.remembers_iterations(self.state, iterations)
