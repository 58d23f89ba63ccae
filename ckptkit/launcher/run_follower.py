"""Opens each run that a training reports, without waiting for the storage."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from ckptkit.errors import ConfigError
from ckptkit.launcher.launch_history import LaunchHistory, LostStart
from ckptkit.launcher.stop_handling import StopHandling
from ckptkit.launcher.storage_worker import StorageWorker
from ckptkit.launcher.training_output import TrainingLog
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.control_requests import ControlRequest, read_request
from ckptkit.run.launcher_channel import ChannelState

REQUEST_SECS = 1.0
"""Seconds between two checks for a request."""


class RunFollower:
    """Opens journal, log and requests of each run that the training reports.

    A storage error is logged, and the training is supervised without the part that failed.

    Args:
        history: records events into the run.
        log: receives the training's output.
        worker: runs everything that waits for storage.
        stops: receives requests to stop.
    """

    def __init__(
        self, history: LaunchHistory, log: TrainingLog, worker: StorageWorker, stops: StopHandling
    ) -> None:
        self._history, self._log, self._worker, self._stops = history, log, worker, stops
        self._reported: tuple[str, int] | None = None
        self._looked_at = 0.0
        self._refused: set[str] = set()

    @property
    def has_run(self) -> bool:
        """Whether the current training has reported a run."""
        return self._reported is not None

    def begin_start(self) -> None:
        """Forget the run of the earlier start, because each start reports its own."""
        self._reported = None

    def open_named(self, run: str) -> None:
        """Open the run that the user has named, before a training is started.

        Raises:
            ConfigError: If the name is not a path.
            StorageError: If the disk refuses.
        """
        self._open(*self._history.prepare(run))

    def follow(self, state: ChannelState | None) -> None:
        """Open the run that the training reports, if it has changed."""
        # The attempt number alone is not enough: a program may train several runs, and each counts
        # from 1.
        if state is not None and state.run and (state.run, state.attempt) != self._reported:
            self._reported = state.run, state.attempt
            self._worker.submit(
                partial(self._history.prepare, state.run), partial(self._prepared, state.run)
            )

    def _prepared(self, run: str, result: Callable[[], tuple[RunLayout, int]]) -> None:
        try:
            layout, step = result()
        except (OSError, ConfigError) as error:
            if run not in self._refused:  # each start tries this again, and one warning is enough
                self._refused.add(run)
                logger.warning("the launcher's events cannot be written into %s: %s", run, error)
            return
        self._refused.discard(run)
        self._open(layout, step)
        self._worker.submit(
            partial(self._history.lost_starts, layout, here_only=False),
            partial(self._found_lost, layout),
        )

    def _open(self, layout: RunLayout, step: int) -> None:
        self._history.open(layout, step)
        self._log.open(layout.log)

    def _found_lost(self, layout: RunLayout, result: Callable[[], list[LostStart]]) -> None:
        self._history.record_lost(layout, result())

    def look_for_stop(self, *, at_once: bool = False) -> None:
        """Check whether `ckptkit stop` has left a request for this launcher.

        It does that while no training owns the run.

        Args:
            at_once: check now, even if the next check is not due.
        """
        layout, now = self._history.layout, time.monotonic()
        due = at_once or (now - self._looked_at >= REQUEST_SECS and not self._worker.busy)
        if layout is None or self._stops.stop_source or not due:
            return
        self._looked_at = now
        self._worker.submit(partial(read_request, layout.request), self._read)

    def _read(self, result: Callable[[], ControlRequest | None]) -> None:
        self._stops.take_request(result())
