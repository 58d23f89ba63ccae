"""The position of a run in this session, and the metrics measured there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.position import RunPosition
from ckptkit.session.lazy_metrics import Metrics, UnusableMetrics
from ckptkit.session.phase import PhaseMachine


class RunProgress:
    """The position of a run, and the metrics that were measured at it.

    Args:
        phases: the phases of the session; the first step moves its stopwatch.

    Attributes:
        position: the training that is done, over all attempts.
        metrics: what was measured at the position.
        running_averages: whether these are averages over an epoch that is not over. They do not
            compare with those of whole epochs.
        done: whether training has come to its end there.
        total: how many steps or epochs the whole run has; None if that is not known.
        beats: a counter that grows with everything that training does. A launcher compares it
            to find out whether training hangs.
        after_step: called with the step after each one; an audit waits there.
    """

    def __init__(self, phases: PhaseMachine) -> None:
        self._phases = phases
        self.position = RunPosition()
        self._unusable = UnusableMetrics()
        self.forget_metrics()
        self.done = False
        self.total: int | None = None
        self.beats = 0
        self.after_step: Callable[[int], None] = lambda step: None

    def start_from(self, position: RunPosition) -> None:
        """Set the position from which this session continues."""
        self.position = position
        self.forget_metrics()

    def forget_metrics(self) -> None:
        """Note that nothing was measured yet: another turn has begun."""
        self.metrics = Metrics(unusable=self._unusable.note)
        self.running_averages = False

    def step_done(
        self,
        position: RunPosition,
        metrics: Mapping[str, Any] | None = None,
        *,
        running_averages: bool = False,
    ) -> None:
        """Note that training has reached a position, and what was measured there.

        Args:
            position: the training that is done.
            metrics: what was measured there.
            running_averages: see the class; by default no.

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
            self.forget_metrics()
            self.done = False  # a program may train on after a loop has come to its end
        if not self._phases.has_trained and position.step > self.position.step:
            self._phases.first_step_done()
        self.beats += 1
        self.position, self.running_averages = position, running_averages
        self.measured(metrics or {})
        self.after_step(position.step)

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Note what was measured at this position; tensors are converted when they are needed."""
        self.metrics = self.metrics.with_more(metrics)
