"""Builds the ledger of a run from the events of its journal.

Pure, except that it asks the system whether a process still runs.
"""

from __future__ import annotations

import math
import socket
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ckptkit.layout import CheckpointName
from ckptkit.report.attempt_endings import AttemptEnding, ending_of
from ckptkit.report.attempt_events import AttemptEvents
from ckptkit.report.attempt_ledger import Attempt, Ledger, ResumePoint
from ckptkit.report.clamp_time import moment, secs
from ckptkit.report.launches import Launches
from ckptkit.report.running_processes import attempt_is_running
from ckptkit.report.stretch_builder import StepAccount, StretchBuilder, build_stretches
from ckptkit.report.unsaved_steps import died_unsaved, earlier_unsaved
from ckptkit.report.wall_time_split import stall_micros
from ckptkit.run.events import (
    AttemptStarted,
    Event,
    NoticeReceived,
    Restored,
    RolledBack,
    Saved,
    SaveDropped,
    SaveFailed,
    SetAside,
    SignalReceived,
    TakenOver,
)
from ckptkit.run.journal import LAUNCHER


def ledger_of(
    events: Sequence[Event],
    now: float,
    *,
    host: str | None = None,
    is_running: Callable[[AttemptStarted], bool] | None = None,
) -> Ledger:
    """Build the ledger of a run.

    Args:
        events: the journal; the events of each attempt are in the order in which they were written.
        now: seconds since the epoch.
        host: the name of this machine; by default it is looked up.
        is_running: whether the process of an attempt on this machine still runs; by default the
            system is asked, and only about the newest attempt.
    """
    by_number: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        by_number[event.attempt].append(event)
    journals = {number: AttemptEvents(own) for number, own in sorted(by_number.items())}
    started = {
        number: start
        for number, own in journals.items()
        if number != LAUNCHER and (start := own.first(AttemptStarted)) is not None
    }
    launches = Launches(journals.get(LAUNCHER, AttemptEvents(())), started)
    numbers = list(started)
    lives: list[list[_Record]] = []
    for number, following in zip_longest(numbers, numbers[1:]):
        start, own = started[number], journals[number]
        if not lives or own.last(SetAside) is not None:
            lives.append([])
        runs = None
        if following is None and start.host == (host or socket.gethostname()):
            runs = (is_running or attempt_is_running)(start)
        taken_over = following is not None and journals[following].last(TakenOver) is not None
        ending = ending_of(
            own, launches.ended(number), newest=following is None, runs=runs, taken_over=taken_over
        )
        builders = build_stretches(own.events, moment(start.time), launches.reached(number))
        lives[-1].append(_Record(number, len(lives), start, own, ending, builders))
    back = [event for own in journals.values() for event in own.all(RolledBack)]
    for life, following_life in zip_longest(lives, lives[1:]):
        before = following_life[0].number if following_life is not None else math.inf
        _settle(life, [event for event in back if event.attempt < before])
    return Ledger(
        attempts=tuple(_attempt(record, launches) for life in lives for record in life),
        now=moment(now),
    )


@dataclass
class _Record:
    """What is known about an attempt before its lost and repeated steps are counted."""

    number: int
    life: int
    started: AttemptStarted
    own: AttemptEvents
    ending: AttemptEnding
    builders: list[StretchBuilder]


def _settle(life: Sequence[_Record], back: Sequence[RolledBack]) -> None:
    """Decide which steps of a life were lost and which were done again.

    Args:
        life: the attempts of the life.
        back: the rollbacks of this life and of earlier ones, by attempt number.
    """
    account, by_number = StepAccount(), {record.number: record for record in life}
    trained: _Record | None = None
    for record in life:
        restored = iter(record.own.all(Restored))
        for builder in record.builders:
            event = next(restored, None) if builder.resumed else None
            name = CheckpointName.parse(event.checkpoint) if event is not None else None
            if (
                name is not None
                and (origin := by_number.get(name.attempt)) is not None
                and origin is not record
            ):
                _extend_to(origin, name.step)
            account.add(builder)
            trained = record if builder.has_trained else trained
    if trained is None:
        return
    # Attempts after the rollback may have restored, but trained nothing.
    if back and back[-1].attempt > trained.number:
        account.cut(back[-1].step)
    elif trained.ending.outcome not in ("finished", "unknown") and trained.ending.end is not None:
        account.cut(trained.builders[-1].saved)


def _extend_to(record: _Record, step: int) -> None:
    """Count a step as reached if a later attempt restored its checkpoint.

    An attempt may be killed after it committed a checkpoint and before it recorded that.
    """
    if record.builders and record.builders[-1].kept == record.builders[-1].last < step:
        record.builders[-1].last = record.builders[-1].kept = step


def _cause(record: _Record) -> str:
    builders, cause = record.builders, record.ending.cause
    if record.ending.outcome != "dead" or not builders:
        return cause
    words = died_unsaved(
        trained=any(builder.has_trained for builder in builders),
        saves=len(record.own.all(Saved)),
        steps_done=sum(builder.last - builder.first for builder in builders),
        last_step=builders[-1].last,
    )
    return f"{cause}; {words}" if words else cause


def _attempt(record: _Record, launches: Launches) -> Attempt:
    own, started, ending = record.own, record.started, record.ending
    start = moment(started.time)
    known = [
        time
        for time in (launches.began(record.number), started.process_started)
        if time is not None
    ]
    saved = own.all(Saved)
    restored = own.all(Restored)
    stretches = tuple(builder.build() for builder in record.builders)
    position = stretches[0].first if stretches else 0
    resumed = next((event for event in restored), None)
    return Attempt(
        number=record.number,
        life=record.life,
        host=started.host,
        pid=started.pid,
        program=started.program,
        versions=started.versions,
        scheduler=started.scheduler,
        start=start,
        began=min([start, *map(moment, known)]),
        end=ending.end,
        last_sign=ending.last_sign,
        outcome=ending.outcome,
        cause=_cause(record),
        resumed_from=None
        if resumed is None
        else ResumePoint(
            checkpoint=resumed.checkpoint,
            step=resumed.step,
            time=moment(resumed.time),
            secs=moment(resumed.secs),
        ),
        trained_at=next(
            (stretch.trained_at for stretch in stretches if stretch.trained_at is not None), None
        ),
        first_step=position,
        last_step=stretches[-1].last if stretches else position,
        steps_done=sum(each.last - each.first for each in stretches),
        steps_lost=sum(each.last - each.kept for each in stretches),
        steps_redone=sum(each.redone for each in stretches),
        saves=len(saved),
        saved_bytes=sum(event.size_bytes for event in saved),
        saves_dropped=len(own.all(SaveDropped)),
        saves_failed=len(own.all(SaveFailed)),
        stall_secs=secs(stall_micros(own)),
        restore_secs=sum(moment(event.secs) for event in restored),
        signals=tuple(event.signal for event in own.all(SignalReceived)),
        notices=tuple(event.source for event in own.all(NoticeReceived)),
        stretches=stretches,
        wanted=ending.wanted,
        hung_at=launches.hung_at(record.number),
        own=own,
    )


def unsaved_attempts(events: Sequence[Event], now: float) -> list[str]:
    """Return a sentence for each attempt of this life that was killed before its first save.

    Args:
        events: the events of the journal.
        now: the time in seconds since the epoch.
    """
    return earlier_unsaved(ledger_of(events, now).this_life)
