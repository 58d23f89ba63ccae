"""The launcher's lines in a run's journal, and what earlier launchers have told there."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import get_args

from ckptkit.clock import Clock
from ckptkit.errors import StorageError
from ckptkit.exit_codes import ExitCode
from ckptkit.launcher.exit_cause import Cause
from ckptkit.launcher.journal_writer import JournalWriter
from ckptkit.launcher.restart_decision import Past
from ckptkit.layout import RunLayout, run_layout
from ckptkit.log import logger
from ckptkit.ownership.claims import list_claims
from ckptkit.ownership.machine import Machine, this_machine
from ckptkit.ownership.process_lock import hold, is_held
from ckptkit.run.audit_orders import written
from ckptkit.run.catalog import list_checkpoints
from ckptkit.run.events import (
    AttemptEnded,
    Event,
    LaunchDecided,
    LaunchEnded,
    LaunchStarted,
    NoticeReceived,
    SignalReceived,
    TrainingStarted,
)
from ckptkit.run.journal import Journal, read_journal, start_launcher_journal
from ckptkit.storage.files import FileSystem

_CAUSES = get_args(Cause)
_MOST_KEPT = 1000
_PATIENCE_SECS = 5.0
"""For storage, before it is read, and at the end."""
_LAST_WORDS = frozenset({"SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"})
"""Signals after which a launcher is expected to end; where it is killed then, its time was over."""


@dataclass(frozen=True)
class Unended:
    """A start of which no end was told.

    Args:
        started: it.
        told: whether its launcher knew that the machine goes away, or was told to end.
        trained: numbers of its attempts that trained, and told of no end either.
    """

    started: LaunchStarted
    told: bool
    trained: frozenset[int]


@dataclass(frozen=True)
class Lost:
    """What became of such a start.

    Args:
        event: its end.
        here: whether it was on this machine.
        advanced: whether the newest committed step had advanced.
    """

    event: LaunchEnded
    here: bool
    advanced: bool


class LaunchHistory:
    """What this launcher tells. Until it is known where the run is, its lines are kept in memory.

    Args:
        clock: where the time comes from.
        files: how the disk is changed.

    Attributes:
        id: of this launcher; no other one has it.
        layout: the run, or None where it is not known yet.
    """

    def __init__(self, clock: Clock, files: FileSystem) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.layout: RunLayout | None = None
        self._clock, self._files = clock, files
        self._lines = JournalWriter(clock)
        self._journals: dict[RunLayout, Journal] = {}
        self._held: list[int] = []
        self._waiting: list[Event] = []
        self._own: list[Past] = []
        self._told_to_go = False
        self._passed_on: set[str] = set()
        self._start: LaunchStarted | None = None
        self._start_told: dict[RunLayout, int] = {}
        """Runs of the present start, each with its newest committed step of then."""

    def look(self, run: str) -> tuple[RunLayout, int]:
        """Begins this launcher's journal of a run, where there is none yet; from any thread, but
        from one at a time.

        Returns:
            Where the run is, and its newest committed step.

        Raises:
            ConfigError: where that is no path.
            StorageError: where the disk refuses.
        """
        layout = RunLayout(written(run_layout(run).root).resolve())
        if layout not in self._journals:
            self._journals[layout] = start_launcher_journal(
                self._files, layout, self._clock, self.id
            )
            with suppress(
                OSError
            ):  # a file system without such locks: then nobody can tell whether this launcher lives
                self._held.append(hold(layout.launcher_journal(self.id)))
        return layout, _newest_step(layout)

    def open(self, layout: RunLayout, step: int) -> None:
        """The run is this one, see `look`, which may be another one than before: a program may
        train several.
        """
        if layout == self.layout:
            return
        self.layout = layout
        waiting, self._waiting = self._waiting, []
        self._tell_start(layout, step)
        for event in waiting:
            self.tell(event)

    def tell(self, event: Event) -> None:
        """A line, which is written soon, and durably; a journal that cannot be written costs its
        line, and no training.
        """
        if isinstance(event, NoticeReceived) or (
            isinstance(event, SignalReceived) and event.signal == "SIGTERM"
        ):
            self._told_to_go = (
                True  # also where the notice is withdrawn: the training may have stopped for it
            )
        elif isinstance(event, SignalReceived) and event.signal != "SIGCONT":
            self._passed_on.add(event.signal)
        if self.layout is not None:
            self._lines.add(self._journals[self.layout], event)
        elif len(self._waiting) < _MOST_KEPT:
            self._waiting.append(event)

    @property
    def step(self) -> int:
        """The newest committed step."""
        return _newest_step(self.layout) if self.layout is not None else 0

    @property
    def has_advanced(self) -> bool:
        """Whether a run of the present start has a newer committed step than when it was started,
        or than when it was known which run that is.
        """
        return any(_newest_step(layout) > step for layout, step in self._start_told.items())

    def is_written(self, patience_secs: float) -> bool:
        """Whether all that was told is durable; waits for so long at most."""
        return self._lines.are_written(patience_secs)

    def starts(self, number: int, program: str) -> None:
        """Tells that the training is about to be started, which it is when that is durable."""
        self._told_to_go = False
        self._passed_on = set()
        machine = this_machine()
        self._start_told = {}
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
            self._tell_start(self.layout, self.step)

    def _tell_start(self, layout: RunLayout, step: int) -> None:
        if self._start is not None and layout not in self._start_told:
            self._start_told[layout] = step
            self.tell(replace(self._start, step=step))

    def ended(self, event: LaunchEnded, *, advanced: bool) -> None:
        """Tells how it has ended, wherever its start was told."""
        self._start = None
        obeyed = bool(self._passed_on) and (
            event.cause == "preempted" or event.signal in self._passed_on
        )
        event = replace(event, told=event.told or self._told_to_go or obeyed)
        for layout in (
            self._start_told
        ):  # a program may have trained several runs, and the last one is what it has spoken of
            other = replace(event, step=_newest_step(layout), of_attempt=0, reached=None)
            self._lines.add(self._journals[layout], event if layout == self.layout else other)
        self._own.append(
            Past(self._clock.now(), _cause(event.cause), advanced, event.trained, event.told)
        )

    def past(self) -> list[Past]:
        """Earlier ends of this run, oldest first: those that other launchers have told of, then
        those that this one has seen.
        """
        others: list[Past] = []
        if self.layout is not None:
            self.is_written(_PATIENCE_SECS)
            try:
                others = past_of(
                    [
                        event
                        for event in read_journal(self.layout).events
                        if getattr(event, "launcher", "") != self.id
                    ]
                )
            except StorageError as error:
                logger.warning("what earlier launchers have told cannot be read: %s", error)
        return [*others, *self._own]

    def infer(self, *, here_only: bool) -> tuple[LaunchEnded, bool] | None:
        """Tells what became of starts of which no end was told: their launcher was lost with them.

        Args:
            here_only: see `lost`.

        Returns:
            The last one of this machine, and whether the newest committed step had advanced; or
            None.
        """
        if self.layout is None:
            return None
        found = self.lost(self.layout, here_only=here_only)
        self.tell_lost(self.layout, found)
        return next(((each.event, each.advanced) for each in reversed(found) if each.here), None)

    def lost(self, layout: RunLayout, *, here_only: bool) -> list[Lost]:
        """Starts of a run of which no end was told, and that are over; from any thread.

        Args:
            layout: the run.
            here_only: only launchers of this machine: that these are gone, the kernel knows. Of
                others it is known when the run could be taken.
        """
        self.is_written(_PATIENCE_SECS)
        found: list[Lost] = []
        with suppress(StorageError):
            machine, claims = this_machine(), list_claims(layout)
            for lost in unended(read_journal(layout).events):
                started = lost.started
                if started.launcher == self.id:
                    continue
                here = (
                    bool(machine.boot) and started.boot == machine.boot
                )  # one kernel: each container on it has a host name of its own
                if here_only and not here:
                    continue
                if here and is_held(layout.launcher_journal(started.launcher)) is not False:
                    continue
                lives = any(
                    claim.number in lost.trained and claim.is_held() is not False
                    for claim in claims
                )
                event = inferred(
                    lost,
                    here=machine if here else None,
                    first=os.getpid() == 1,
                    killed=bool(lost.trained) and not lives,
                    step=_newest_step(layout),
                )
                found.append(Lost(event, here, event.step > started.step))
        return found

    def tell_lost(self, layout: RunLayout, found: Sequence[Lost]) -> None:
        """Tells what became of them, in the journal of their run."""
        for each in found:
            logger.info(
                "start %d of an earlier launcher left no word of its end: %s",
                each.event.number,
                each.event.words,
            )
            self._lines.add(self._journals[layout], each.event)

    def close(self) -> None:
        """This launcher ends."""
        if not self.is_written(_PATIENCE_SECS):
            logger.warning(
                "the launcher's last lines are not in the journal: the storage of the run gives "
                "no answer"
            )
        while self._held:
            os.close(self._held.pop())


def _newest_step(layout: RunLayout) -> int:
    with suppress(StorageError):
        found = list_checkpoints(layout)
        return found[-1].step if found else 0
    return 0


def unended(events: Sequence[Event]) -> list[Unended]:
    """Starts of which no end was told, in the order of time."""
    ended = {(event.launcher, event.number) for event in events if isinstance(event, LaunchEnded)}
    starts = sorted(
        (event for event in events if isinstance(event, LaunchStarted)),
        key=lambda event: event.time,
    )
    over = {event.attempt for event in events if isinstance(event, AttemptEnded)}
    found = []
    for start, after in zip(starts, [*(each.time for each in starts[1:]), math.inf], strict=False):
        if (start.launcher, start.number) not in ended:
            of_it = [event for event in events if start.time <= event.time < after]
            told = any(
                isinstance(event, NoticeReceived)
                or (isinstance(event, SignalReceived) and event.signal in _LAST_WORDS)
                for event in of_it
            )
            trained = {event.attempt for event in of_it if isinstance(event, TrainingStarted)}
            found.append(Unended(start, told, frozenset(trained - over)))
    return found


def inferred(
    lost: Unended, *, here: Machine | None, first: bool, killed: bool, step: int
) -> LaunchEnded:
    """What became of such a start.

    Args:
        lost: it.
        here: this machine where it was on it, and since it was started; or None.
        first: whether this process is number 1, as in a container.
        killed: whether its training is gone, too, without a word.
        step: the newest committed one.
    """
    started = lost.started
    if lost.told:
        cause, words = "preempted", "its machine went away after a notice"
    elif here is None:
        cause, words = "machine", f"it was lost with its machine ({started.host}), without a notice"
    elif first and started.pid == 1 and started.host == here.host:
        cause, words = (
            "memory",
            (
                "its whole container was killed without a word and started again on the same "
                "machine: most often, that is the "
                "kernel, out of memory"
            ),
        )
    elif killed:
        cause, words = (
            "killed",
            "it was killed with its launcher, and the machine runs on: out of memory, or by the "
            "system",
        )
    else:
        cause, words = "launcher", "its launcher was killed"
    return LaunchEnded(
        launcher=started.launcher,
        number=started.number,
        cause=cause,
        words=words,
        exit_code=None,
        signal="",
        step=step,
        inferred=True,
        told=lost.told,
    )


def past_of(events: Sequence[Event]) -> list[Past]:
    """The ends that a journal tells of, oldest first, and that count: where a launcher gave up,
    whoever starts the run again begins to count anew.
    """
    steps = {
        (event.launcher, event.number): event.step
        for event in events
        if isinstance(event, LaunchStarted)
    }
    found: list[Past] = []
    for event in events:
        if isinstance(event, LaunchEnded):
            advanced = event.step > steps.get((event.launcher, event.number), event.step)
            found.append(Past(event.time, _cause(event.cause), advanced, event.trained, event.told))
        elif (
            isinstance(event, LaunchDecided)
            and event.action == "stop"
            and event.exit_code != ExitCode.PREEMPTED
        ):
            found = []
    return found


def _cause(text: str) -> Cause:
    """A word of the journal, which a later version may have written."""
    return next((cause for cause in _CAUSES if cause == text), "exit")
