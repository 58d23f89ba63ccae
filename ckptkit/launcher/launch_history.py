"""Records this launcher's events in the journal, and reads those of earlier launchers.

Once a training runs, this file raises no storage errors: an event is lost instead.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ckptkit.clock import Clock
from ckptkit.launcher.earlier_launches import (
    UnfinishedStart,
    earlier_ends,
    infer_end,
    known_cause,
    unfinished_starts,
)
from ckptkit.launcher.journal_writer import JournalWriter
from ckptkit.launcher.restart_decision import EarlierEnd
from ckptkit.layout import RunLayout, run_layout
from ckptkit.log import logger
from ckptkit.ownership.claims import Claim, list_claims
from ckptkit.ownership.kernel_lock import hold, is_held
from ckptkit.ownership.machine_identity import this_machine
from ckptkit.run.audit_path_redirect import path_to_write
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.events import Event, LaunchEnded, LaunchStarted, NoticeReceived, SignalReceived
from ckptkit.run.journal import Journal, start_launcher_journal
from ckptkit.run.journal_reader import read_journal
from ckptkit.storage.files import FileSystem, storage_errors

_MOST_BUFFERED = 1000
_PATIENCE_SECS = 5.0
"""Seconds to wait for queued events, before the journal is read and at the end."""


@dataclass(frozen=True)
class LostStart:
    """A start of an earlier launcher, with an inferred end because none was recorded.

    Args:
        event: the inferred end.
        here: whether the start was on this machine.
        advanced: whether the newest committed step advanced during the start.
    """

    event: LaunchEnded
    here: bool
    advanced: bool


class LaunchHistory:
    """Records this launcher's events; keeps them in memory until the run is known.

    Args:
        clock: gives events their times.
        files: changes the disk.

    Attributes:
        id: the unique id of this launcher.
        layout: the run, or None until it is known.
    """

    def __init__(self, clock: Clock, files: FileSystem | None = None) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.layout: RunLayout | None = None
        self._clock, self._files = clock, files or FileSystem()
        self._writer = JournalWriter(clock)
        self._journals: dict[RunLayout, Journal] = {}
        self._locks: list[int] = []
        self._buffered: list[Event] = []
        self._own_ends: list[EarlierEnd] = []
        self._read_failed = False
        self._stop_ordered = False
        self._forwarded: set[str] = set()
        self._start: LaunchStarted | None = None
        self._steps_at_start: dict[RunLayout, int] = {}
        """The runs of the current start, each with its newest committed step at the beginning."""

    def prepare(self, run: str) -> tuple[RunLayout, int]:
        """Create this launcher's journal in a run, if needed; call it on one thread at a time.

        Args:
            run: the run directory.

        Returns:
            The run's layout, and its newest committed step.

        Raises:
            ConfigError: If `run` is not a path.
            StorageError: If the disk refuses.
        """
        layout = RunLayout(path_to_write(run_layout(run).root).resolve())
        if layout not in self._journals:
            with storage_errors("start the launcher's journal in", layout.root):
                self._journals[layout] = start_launcher_journal(
                    self._files, layout, self._clock, self.id
                )
            # The file system has no such locks, so later launchers cannot tell whether this one
            # still runs.
            with suppress(OSError):
                self._locks.append(hold(layout.launcher_journal(self.id)))
        return layout, _newest_step(layout)

    def open(self, layout: RunLayout, step: int) -> None:
        """Record into this run from now on; a program may train several runs in turn.

        Args:
            layout: a run that `prepare` returned.
            step: its newest committed step.
        """
        if layout == self.layout:
            return
        self.layout = layout
        buffered, self._buffered = self._buffered, []
        self._record_start(layout, step)
        for event in buffered:
            self.record(event)

    def record(self, event: Event) -> None:
        """Queue an event to be recorded durably; it is lost if the disk refuses it."""
        if isinstance(event, NoticeReceived) or (
            isinstance(event, SignalReceived) and event.signal == "SIGTERM"
        ):
            # Kept even if the notice is cancelled later: the training may have stopped for it.
            self._stop_ordered = True
        elif isinstance(event, SignalReceived) and event.signal != "SIGCONT":
            self._forwarded.add(event.signal)
        if self.layout is not None:
            self._writer.add(self._journals[self.layout], event)
        elif len(self._buffered) < _MOST_BUFFERED:
            self._buffered.append(event)

    @property
    def step(self) -> int:
        """The newest committed step of the run."""
        return _newest_step(self.layout) if self.layout is not None else 0

    @property
    def has_advanced(self) -> bool:
        """Whether a run has a newer committed step than when the current start began."""
        return any(_newest_step(layout) > step for layout, step in self._steps_at_start.items())

    def is_written(self, patience_secs: float) -> bool:
        """Wait until all events are durable or lost; see `JournalWriter.is_written`."""
        return self._writer.is_written(patience_secs)

    def record_start(self, number: int, program: str) -> None:
        """Record that the training is about to be started.

        Args:
            number: the number of the start, from 1.
            program: the name of the program.
        """
        self._stop_ordered = False
        self._forwarded = set()
        machine = this_machine()
        self._steps_at_start = {}
        self._start = LaunchStarted(
            launcher=self.id,
            number=number,
            host=machine.host,
            boot=machine.boot,
            pid=os.getpid(),
            program=program,
            step=0,
        )
        if self.layout is not None:
            self._record_start(self.layout, self.step)

    def _record_start(self, layout: RunLayout, step: int) -> None:
        if self._start is not None and layout not in self._steps_at_start:
            self._steps_at_start[layout] = step
            self.record(replace(self._start, step=step))

    def record_end(self, event: LaunchEnded, *, advanced: bool) -> None:
        """Record how the training ended, in each run of the current start.

        Args:
            event: the end, from the view of the run that was open last.
            advanced: whether a run has a newer committed step than at the start.
        """
        self._start = None
        obeyed = bool(self._forwarded) and (
            event.cause == "preempted" or event.signal in self._forwarded
        )
        event = replace(event, told=event.told or self._stop_ordered or obeyed)
        for layout in self._steps_at_start:
            # Attempt and step belong to the last run only; each run has its own numbers.
            other = replace(event, step=_newest_step(layout), of_attempt=0, reached=None)
            self._writer.add(self._journals[layout], event if layout == self.layout else other)
        cause = known_cause(event.cause)
        self._own_ends.append(
            EarlierEnd(self._clock.now(), cause, advanced, event.trained, event.told)
        )

    def earlier_ends(self) -> list[EarlierEnd]:
        """Return the earlier ends of this run: first other launchers' ends, then this one's."""
        others: list[EarlierEnd] = []
        if self.layout is not None:
            self.is_written(_PATIENCE_SECS)
            try:
                events = read_journal(self.layout).events
            except OSError as error:
                if not self._read_failed:  # called after each start; one warning is enough
                    logger.warning("what earlier launchers recorded cannot be read: %s", error)
                self._read_failed = True
            else:
                own = self.id
                others = earlier_ends([e for e in events if getattr(e, "launcher", "") != own])
        return [*others, *self._own_ends]

    def recover_lost_starts(self, *, here_only: bool) -> tuple[LaunchEnded, bool] | None:
        """Record the ends of starts that were lost together with their launcher.

        Args:
            here_only: see `lost_starts`.

        Returns:
            The last lost start of this machine, and whether the newest committed step had advanced;
                None if there is none.
        """
        if self.layout is None:
            return None
        found = self.lost_starts(self.layout, here_only=here_only)
        self.record_lost(self.layout, found)
        return next(((each.event, each.advanced) for each in reversed(found) if each.here), None)

    def lost_starts(self, layout: RunLayout, *, here_only: bool) -> list[LostStart]:
        """Return the starts of a run that are over without a recorded end; works on any thread.

        Args:
            layout: the run.
            here_only: whether to return only starts on this machine, because the kernel knows
                whether they are over. For other machines that is known only once the training has
                taken the run.
        """
        self.is_written(_PATIENCE_SECS)
        found: list[LostStart] = []
        # If storage fails, the next launcher finds them, because it reads the same journal.
        with suppress(OSError):
            claims = list_claims(layout)
            for lost in unfinished_starts(read_journal(layout).events):
                if lost.started.launcher != self.id:
                    found += self._lost_start(layout, lost, claims, here_only=here_only)
        return found

    def _lost_start(
        self, layout: RunLayout, lost: UnfinishedStart, claims: Sequence[Claim], *, here_only: bool
    ) -> list[LostStart]:
        machine, started = this_machine(), lost.started
        # Compared by boot id, because each container on one kernel has its own host name.
        here = bool(machine.boot) and started.boot == machine.boot
        if here_only and not here:
            return []
        if here and is_held(layout.launcher_journal(started.launcher)) is not False:
            return []
        still_trains = any(
            claim.number in lost.trained and claim.is_held() is not False for claim in claims
        )
        event = infer_end(
            lost,
            here=machine if here else None,
            first=os.getpid() == 1,
            killed=bool(lost.trained) and not still_trains,
            step=_newest_step(layout),
        )
        return [LostStart(event, here, event.step > started.step)]

    def record_lost(self, layout: RunLayout, found: Sequence[LostStart]) -> None:
        """Record the inferred ends of lost starts in the journal of their run."""
        for each in found:
            logger.info(
                "start %d of an earlier launcher recorded no end: %s",
                each.event.number,
                each.event.words,
            )
            self._writer.add(self._journals[layout], each.event)

    def close(self) -> None:
        """Wait a few seconds for the last events, and release the locks."""
        if not self.is_written(_PATIENCE_SECS):
            logger.warning(
                "the launcher's last events are not in the journal: the storage of the run does "
                "not answer"
            )
        while self._locks:
            with suppress(OSError):  # network file systems report a failed write at `close`
                os.close(self._locks.pop())


def _newest_step(layout: RunLayout) -> int:
    # `OSError`, not only `StorageError`: `Path.exists` raises a plain `OSError`, for example on
    # EACCES.
    with suppress(OSError):
        found = list_checkpoints(layout)
        return found[-1].step if found else 0
    return 0
