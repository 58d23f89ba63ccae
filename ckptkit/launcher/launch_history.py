"""The launcher's own events in a run's journal, and what earlier launchers left there.

No error of storage leaves this file once a training runs: an event or an answer is lost instead.
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
from ckptkit.ownership.machine import this_machine
from ckptkit.ownership.process_lock import hold, is_held
from ckptkit.run.audit_orders import written
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.events import Event, LaunchEnded, LaunchStarted, NoticeReceived, SignalReceived
from ckptkit.run.journal import Journal, read_journal, start_launcher_journal
from ckptkit.storage.files import FileSystem, storage_errors

_MOST_BUFFERED = 1000
_PATIENCE_SECS = 5.0
"""Longest wait for own events to be written, before the journal is read and at the end."""


@dataclass(frozen=True)
class LostStart:
    """Start of an earlier launcher that is over, and whose end is inferred.

    Args:
        event: its inferred end.
        here: whether it was on this machine.
        advanced: whether the newest committed step had advanced.
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
        id: of this launcher; no other one has it.
        layout: the run, or None if it is not known yet.
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
        """Runs of the present start, each with its newest committed step at that time."""

    def prepare(self, run: str) -> tuple[RunLayout, int]:
        """Start this launcher's journal of a run, unless it has one; on one thread at a time.

        Args:
            run: the run directory.

        Returns:
            The run's layout, and its newest committed step.

        Raises:
            ConfigError: If `run` is not a path.
            StorageError: If the disk refuses.
        """
        layout = RunLayout(written(run_layout(run).root).resolve())
        if layout not in self._journals:
            with storage_errors("start the launcher's journal in", layout.root):
                self._journals[layout] = start_launcher_journal(
                    self._files, layout, self._clock, self.id
                )
            # A file system without such locks: nobody can tell whether this launcher is running.
            with suppress(OSError):
                self._locks.append(hold(layout.launcher_journal(self.id)))
        return layout, _newest_step(layout)

    def open(self, layout: RunLayout, step: int) -> None:
        """Record into this run from now on; a program may train several runs, one after another.

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
        """Record an event, soon and durably; one that the disk refuses is lost."""
        if isinstance(event, NoticeReceived) or (
            isinstance(event, SignalReceived) and event.signal == "SIGTERM"
        ):
            # Also if the notice is withdrawn later: the training may have stopped for it.
            self._stop_ordered = True
        elif isinstance(event, SignalReceived) and event.signal != "SIGCONT":
            self._forwarded.add(event.signal)
        if self.layout is not None:
            self._writer.add(self._journals[self.layout], event)
        elif len(self._buffered) < _MOST_BUFFERED:
            self._buffered.append(event)

    @property
    def step(self) -> int:
        """The newest committed step."""
        return _newest_step(self.layout) if self.layout is not None else 0

    @property
    def has_advanced(self) -> bool:
        """Whether a run of the present start has a newer committed step than at that start."""
        return any(_newest_step(layout) > step for layout, step in self._steps_at_start.items())

    def is_written(self, patience_secs: float) -> bool:
        """Return whether all events are durable; see `JournalWriter.is_written`."""
        return self._writer.is_written(patience_secs)

    def record_start(self, number: int, program: str) -> None:
        """Record that the training is about to be started.

        Args:
            number: of the start, from 1.
            program: name of the program.
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
        """Record how the training ended, in each run that has its start.

        Args:
            event: the end, as seen by the run that was open last.
            advanced: whether a run has a newer committed step than at the start.
        """
        self._start = None
        obeyed = bool(self._forwarded) and (
            event.cause == "preempted" or event.signal in self._forwarded
        )
        event = replace(event, told=event.told or self._stop_ordered or obeyed)
        for layout in self._steps_at_start:
            # Attempt and step were reported for the last run only; each run counts its own.
            other = replace(event, step=_newest_step(layout), of_attempt=0, reached=None)
            self._writer.add(self._journals[layout], event if layout == self.layout else other)
        cause = known_cause(event.cause)
        self._own_ends.append(
            EarlierEnd(self._clock.now(), cause, advanced, event.trained, event.told)
        )

    def earlier_ends(self) -> list[EarlierEnd]:
        """Return earlier ends of this run: those of other launchers first, then this one's."""
        others: list[EarlierEnd] = []
        if self.layout is not None:
            self.is_written(_PATIENCE_SECS)
            try:
                events = read_journal(self.layout).events
            except OSError as error:
                if not self._read_failed:  # asked for after each start; one warning is enough
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
            The last one of this machine, and whether the newest committed step had advanced; or
            None if there is none.
        """
        if self.layout is None:
            return None
        found = self.lost_starts(self.layout, here_only=here_only)
        self.record_lost(self.layout, found)
        return next(((each.event, each.advanced) for each in reversed(found) if each.here), None)

    def lost_starts(self, layout: RunLayout, *, here_only: bool) -> list[LostStart]:
        """Return starts of a run that are over and whose end is missing; from any thread.

        Args:
            layout: the run.
            here_only: only launchers of this machine, whose end the kernel knows. That those of
                other machines are over is known only after the training could take the run.
        """
        self.is_written(_PATIENCE_SECS)
        found: list[LostStart] = []
        # Storage that fails leaves them for the next launcher, which reads the same journal.
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
        # By the kernel's boot: each container on one kernel has a host name of its own.
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
                "start %d of an earlier launcher left no word of its end: %s",
                each.event.number,
                each.event.words,
            )
            self._writer.add(self._journals[layout], each.event)

    def close(self) -> None:
        """Wait a little for the last events, and release the locks."""
        if not self.is_written(_PATIENCE_SECS):
            logger.warning(
                "the launcher's last lines are not in the journal: the storage of the run gives "
                "no answer"
            )
        while self._locks:
            with suppress(OSError):  # network file systems report a failed write at `close`
                os.close(self._locks.pop())


def _newest_step(layout: RunLayout) -> int:
    # `OSError`, not only `StorageError`: `Path.exists` raises the plain one, for example on EACCES.
    with suppress(OSError):
        found = list_checkpoints(layout)
        return found[-1].step if found else 0
    return 0
