"""Which life of a run a line of the journal belongs to; clocks may be wrong."""

from __future__ import annotations

import errno

import pytest

import ckptkit
from ckptkit.run import events
from ckptkit.run.fresh_start import set_aside_earlier_lives, this_life
from ckptkit.run.journal_reader import read_journal
from ckptkit.testing import FaultyFiles
from tests.run.test_journal import Clock
from tests.support.stored_run import start_attempt


@pytest.mark.parametrize(
    "clocks",
    [(0, 100, 200), (200, 100, 0), (100, 0, 200)],
    ids=["right", "ever earlier", "once behind"],
)
def test_attempts_count_and_times_do_not(layout, files, clocks):
    for number, time in enumerate(clocks):
        journal = start_attempt(files, layout, Clock(time))
        if number:
            set_aside_earlier_lives(
                files, layout, journal, "again"
            )  # a second time under the same label does nothing
        journal.record(events.TrainingStarted(step=number))
    assert [
        event.step
        for event in this_life(read_journal(layout).events)
        if isinstance(event, events.TrainingStarted)
    ] in ([1, 2], [2, 1])


def test_a_label_that_cannot_be_written_down_is_an_error(layout):
    """Without its line, the next start would move this life away as well."""
    files = FaultyFiles()
    journal = start_attempt(files, layout, Clock())
    files.fail(errno.ENOSPC, when=lambda step: step.path == journal.path)
    with pytest.raises(ckptkit.StorageError, match="Free some space"):
        set_aside_earlier_lives(files, layout, journal, "again")
    assert files.reached == 1


def test_the_lines_of_an_attempt_keep_their_order_where_its_clock_goes_back(layout, files):
    clock = Clock(10)
    journal = start_attempt(files, layout, clock)
    for step in range(3):
        journal.record(events.TrainingStarted(step=step))
        clock.time -= 5
    assert [event.step for event in read_journal(layout).events] == [0, 1, 2]


def test_lines_of_the_launcher_have_their_time_only(layout, files):
    start_attempt(files, layout, Clock()).record(events.TrainingStarted(step=1))
    second = start_attempt(files, layout, Clock(10))
    set_aside_earlier_lives(files, layout, second, "again")
    before, after = (
        events.NoticeReceived(source="a", grace_secs=1, time=5.0),
        events.NoticeReceived(source="b", grace_secs=1, time=20.0),
    )
    assert this_life([*read_journal(layout).events, before, after]) == [after]
