"""Keeps the position of a run, and the metrics that were measured at that position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.errors import ConfigError
from ckptkit.layout import MAX_STEP
from ckptkit.position import RunPosition
from ckptkit.session.lazy_metrics import Metrics, UnusableMetrics
from ckptkit.session.phase import PhaseMachine


class RunProgress:
    """Keeps the current position of a run and the metrics that were measured there.

    Args:
        phases: the phases of the session; the first step moves its stopwatch.

    Attributes:
        position: the finished training, over all attempts.
        metrics: the metrics at that position.
        running_averages: whether the metrics are averages over an unfinished epoch. Those cannot be
            compared with metrics of whole epochs.
        done: whether training has ended at that position.
        early_stop: who has ended training before its last epoch, as the manifest records it; empty
            if nobody has.
        total: the number of steps or epochs of the whole run; None if unknown.
        beats: a counter that grows with each activity of training. A launcher uses it to detect a
            training that hangs.
        after_step: called with the number of each finished step if an audit waits there, else None.
    """

    def __init__(self, phases: PhaseMachine) -> None:
        self._phases = phases
        self.position = RunPosition()
        self._unusable = UnusableMetrics()
        self.metrics = self._none = Metrics(unusable=self._unusable.note)
        self.running_averages = False
        self.done = False
        self.early_stop: dict[str, str | int] = {}
        self.total: int | None = None
        self.saved_by_job = 0
        self.beats = 0
        self.after_step: Callable[[int], None] | None = None

    def start_from(self, position: RunPosition) -> None:
        """Set the position from which this session continues."""
        self.position = position
        self.forget_metrics()

    def forget_metrics(self) -> None:
        """Remove all metrics, because another turn has begun."""
        self.metrics = self._none
        self.running_averages = False

    def step_done(
        self,
        position: RunPosition,
        metrics: Mapping[str, Any] | None = None,
        *,
        running_averages: bool = False,
    ) -> None:
        """Set the position after a step, and the metrics that were measured there.

        Args:
            position: the finished training.
            metrics: the metrics at that position.
            running_averages: see the class; by default no.

        Raises:
            ConfigError: If the position is before the current one, or its step has no name.
        """
        if position.step < self.position.step:
            raise ConfigError(
                f"step counts the training batches since the run began, over all attempts, and "
                f"never decreases. The run is at step {self.position.step}. Received: "
                f"{position.step}. Continue from the position that was restored."
            )
        if position.step > MAX_STEP:
            raise ConfigError(
                f"A step is at most {MAX_STEP:,}, because the name of a checkpoint has no room for "
                f"a larger one. Received: {position.step}. Count the training batches that are "
                "done."
            )
        if position != self.position:
            self.forget_metrics()
            self.done = False  # a program may train again after a loop has ended
        if not self._phases.has_trained and position.step > self.position.step:
            self._phases.first_step_done()
        self.beats += 1
        self.position, self.running_averages = position, running_averages
        self.measured({} if metrics is None else metrics)
        if self.after_step is not None:
            self.after_step(position.step)

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Add metrics of the current position; tensors are converted only when they are read."""
        if not isinstance(metrics, Mapping):
            self._unusable.note_unnamed(metrics)  # a metric must never end a training
            return
        if not metrics:
            return  # most loops measure nothing in most turns
        if self.metrics is self._none:
            self.metrics = Metrics(metrics, self._unusable.note)
        else:
            self.metrics = self.metrics.with_more(metrics)
