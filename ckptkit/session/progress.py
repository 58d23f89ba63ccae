"""The position of a run in this session, and the metrics measured there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.position import RunPosition
from ckptkit.session.lazy_metrics import Metrics
from ckptkit.session.phase import PhaseMachine


class RunProgress:
    """The position of a run, and the metrics that were measured at it.

    Args:
        phases: the phases of the session; the first step moves its stopwatch.

    Attributes:
        position: the training that is done, over all attempts.
        metrics: what was measured at the position.
        done: whether training ends at this position.
        total: the steps or epochs of the whole run; None if unknown.
        beats: a counter that grows while training makes progress. A launcher compares it
            to find out whether training hangs.
        after_step: called with the step after each one; an audit waits there.
    """

    def __init__(self, phases: PhaseMachine) -> None:
        self._phases = phases
        self.position = RunPosition()
        self.metrics = Metrics()
        self.done = False
        self.total: int | None = None
        self.beats = 0
        self.after_step: Callable[[int], None] = lambda step: None

    def start_from(self, position: RunPosition) -> None:
        """Set the position from which this session continues."""
        self.position, self.metrics = position, Metrics()

    def step_done(self, position: RunPosition, metrics: Mapping[str, Any] | None = None) -> None:
        """Note that training has reached a position, and what was measured there.

        Raises:
            ConfigError: If the position lies before the present one.
        """
        if position.step < self.position.step:
            raise ConfigError(
                "step counts the training batches done since the run began, over all attempts, "
                "and never goes back. "
                f"The run is at step {self.position.step}. Received: {position.step}. Begin at "
                "the position that was restored."
            )
        if position != self.position:
            self.metrics = Metrics()
            self.done = False  # a program may train on after a loop has come to its end
        if not self._phases.has_trained and position.step > self.position.step:
            self._phases.first_step_done()
        self.beats += 1
        self.position = position
        self.measured(metrics or {})
        self.after_step(position.step)

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Note what was measured at this position; tensors are converted when they are needed."""
        self.metrics = self.metrics.with_more(metrics)
