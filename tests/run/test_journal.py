"""The journal: every event read back, attempts merged, and a torn line never in the way."""

from __future__ import annotations

import dataclasses
import errno
import json
import tempfile
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptkit
from ckptkit.layout import RunLayout
from ckptkit.run import events
from ckptkit.run.journal import encode_line
from ckptkit.run.journal_reader import MAX_LINE_BYTES, decode_line, read_journal
from ckptkit.run.manifest import Number
from ckptkit.storage.files import FileSystem
from ckptkit.storage.operations import Operation
from ckptkit.testing import FaultyFiles
from tests.support.stored_run import start_attempt


class Clock:
    """A clock that advances by one second whenever it is read."""

    def __init__(self, time: float = 0.0) -> None:
        self.time = time

    def now(self) -> float:
        self.time += 1
        return self.time

    monotonic = now


def example(cls: type[events.Event]) -> events.Event:
    """An event of this kind, with a value in every field."""
    values = {
        str: "text",
        int: 7,
        float: 1.5,
        bool: True,
        dict[str, str]: {"a": "b"},
        dict[str, Number]: {"loss": 0.5, "acc": "nan"},
        list[str]: ["a", "b"],
        int | None: None,
        float | None: 2.5,
        dict[str, float]: {"training": 1.5},
        dict[str, int]: {"weights": 8},
    }
    hints = typing.get_type_hints(cls)
    return cls(**{field.name: values[hints[field.name]] for field in dataclasses.fields(cls)})


@pytest.mark.parametrize("cls", events.EVENTS.values(), ids=events.EVENTS)
def test_every_event_is_read_as_it_was_written(layout, files, cls):
    journal = start_attempt(files, layout, Clock())
    journal.record(example(cls))
    (read,) = read_journal(layout).events
    assert read == dataclasses.replace(example(cls), time=1.0, attempt=1)


def full(step: Operation) -> bool:
    return step.kind == "Append" and step.path.suffix == ".jsonl"


@pytest.mark.parametrize("cls", events.EVENTS.values(), ids=events.EVENTS)
def test_a_line_that_finds_no_space_raises_nothing(layout, cls, caplog):
    files = FaultyFiles()
    journal = start_attempt(files, layout, Clock())
    files.fail(errno.ENOSPC, when=full, times=3, after_bytes=10)
    for _ in range(3):
        journal.record(example(cls))
    assert files.reached == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"], "said once"
    assert f"could not write {cls.event} to the journal" in caplog.text
    journal.record(example(events.Finished))
    view = read_journal(layout)
    assert [event.event for event in view.events] == ["finished", "tidying_failed"]
    assert view.events[1].what == "write 3 lines to the journal"
    assert "space" in view.events[1].message
    assert view.damaged == ()


def test_a_second_loss_is_said_as_well(layout, caplog):
    files = FaultyFiles()
    journal = start_attempt(files, layout, Clock())
    for _ in range(2):
        files.fail(errno.ENOSPC, when=full)
        journal.record(example(events.Saved))
        files.heal()
        journal.record(example(events.Saved))
    assert len(caplog.records) == 2
    assert [event.event for event in read_journal(layout).events] == ["saved", "tidying_failed"] * 2


def test_lost_lines_are_counted_although_the_line_about_them_is_lost(layout):
    files, written = FaultyFiles(), []
    journal = start_attempt(files, layout, Clock())

    def is_lost(step: Operation) -> bool:
        if full(step):
            written.append(step)
        return full(step) and len(written) in (1, 2, 4)

    files.fail(errno.ENOSPC, when=is_lost, times=None)
    for _ in range(4):
        journal.record(example(events.Saved))
    view = read_journal(layout)
    assert [event.event for event in view.events] == ["saved", "saved", "tidying_failed"]
    assert view.events[-1].what == "write 3 lines to the journal"


@pytest.mark.parametrize("cls", events.EVENTS.values(), ids=events.EVENTS)
def test_a_durable_line_that_finds_no_space_raises(layout, cls):
    files = FaultyFiles()
    journal = start_attempt(files, layout, Clock())
    files.fail(errno.ENOSPC, when=full)
    with pytest.raises(ckptkit.StorageError, match="Free some space"):
        journal.record_durable(example(cls))
    assert files.reached == 1


def test_a_line_is_one_json_object_with_its_version():
    assert json.loads(encode_line(events.CleanedUp(time=2.0, attempt=3, what="one\nline"))) == {
        "v": 1,
        "event": "cleaned_up",
        "time": 2.0,
        "attempt": 3,
        "what": "one\nline",
    }
    assert encode_line(events.CleanedUp(what="one\nline")).count(b"\n") == 1


def test_attempts_are_merged_in_the_order_of_time(layout, files):
    early, late = start_attempt(files, layout, Clock(0)), start_attempt(files, layout, Clock(1.5))
    assert (early.attempt, late.attempt) == (1, 2)
    for step in (1, 2, 3):
        early.record(events.TrainingStarted(step=step))
        late.record(events.TrainingStarted(step=step + 10))
    assert [(e.time, e.step) for e in read_journal(layout).events] == [
        (1, 1),
        (2, 2),
        (2.5, 11),
        (3, 3),
        (3.5, 12),
        (4.5, 13),
    ]


@pytest.mark.parametrize(
    "torn",
    [b"", b"{", b'{"v": 1, "event": "saved", "ste', b'{"v":1,"event":"finished"', b"\x00" * 512],
)
def test_a_torn_last_line_costs_nothing_else(layout, files, torn):
    first = start_attempt(files, layout, Clock())
    first.record(events.TrainingStarted(step=1))
    with layout.attempt_journal(1).open("ab") as file:
        file.write(torn)
    start_attempt(files, layout, Clock(10)).record(events.TrainingStarted(step=2))
    view = read_journal(layout)
    assert [e.step for e in view.events] == [1, 2]
    assert [where.partition(": ")[0] for where in view.damaged] == (
        ["attempt-000001.jsonl:2"] if torn else []
    )


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"1",
        b'"saved"',
        b"{}",
        b'{"event": 5}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"event": "finished", "step": "x", "epoch": 1}',
        b'{"event": "finished"}',
        b'{"event": "finished", "x": "' + b"a" * MAX_LINE_BYTES + b'"}',
    ],
    ids=range(10),
)
def test_what_is_no_event_is_counted_and_passed_over(layout, files, line):
    journal = start_attempt(files, layout, Clock())
    with layout.attempt_journal(1).open("ab") as file:
        file.write(line + b"\n")
    journal.record(events.TrainingStarted(step=2))
    view = read_journal(layout)
    assert len(view.events) == 1
    assert len(view.damaged) == 1


def test_events_and_fields_of_later_versions_are_skipped(layout, files):
    journal = start_attempt(files, layout, Clock())
    with layout.attempt_journal(1).open("ab") as file:
        file.write(b'{"v": 2, "event": "of_later", "time": 0.1, "attempt": 1, "to": "bucket"}\n')
        file.write(
            b'{"v": 2, "event": "finished", "time": 0.2, "attempt": 1, "step": 9, "epoch": 1, '
            b'"mood": "good"}\n'
        )
    journal.record(events.TrainingStarted(step=2))
    view = read_journal(layout)
    assert [e.event for e in view.events] == ["finished", "training_started"]
    assert view.damaged == ()


def test_other_files_are_left_alone(layout, files):
    start_attempt(files, layout, Clock()).record(events.TrainingStarted(step=1))
    (layout.journal / "notes.txt").write_text("not a journal")
    (layout.journal / "odd.jsonl").mkdir()
    view = read_journal(layout)
    assert len(view.events) == 1
    assert view.damaged == ("odd.jsonl: it is not a regular file",)


def test_no_journal_is_an_empty_one(layout):
    assert read_journal(layout) == read_journal(layout).__class__((), ())


def test_a_number_is_never_given_twice(layout, files, save):
    """Even if the journal is lost: two attempts with one number would overwrite each other's
    checkpoints.
    """
    assert start_attempt(files, layout, Clock()).attempt == 1
    assert start_attempt(files, layout, Clock()).attempt == 2
    save(100, attempt=7)
    assert start_attempt(files, layout, Clock()).attempt == 8
    layout.writing(11).mkdir()
    assert start_attempt(files, layout, Clock()).attempt == 12
    for path in layout.journal.iterdir():
        path.unlink()
    layout.writing(11).rmdir()
    assert start_attempt(files, layout, Clock()).attempt == 8


def test_two_processes_that_start_at_once_cannot_share_a_number(layout, files):
    files.make_dir(layout.journal)
    files.create(layout.attempt_journal(1), b"")
    with pytest.raises(ckptkit.StorageError):
        files.create(layout.attempt_journal(1), b"")


@pytest.mark.parametrize("cls", events.EVENTS.values(), ids=events.EVENTS)
def test_a_line_is_read_in_any_spelling(layout, files, cls):
    """What this version writes takes a shorter way; what another one writes, with blanks or in
    another order, is no less.
    """
    event = dataclasses.replace(example(cls), time=3.0, attempt=1)
    ours = encode_line(event)
    others = json.dumps(dict(reversed(json.loads(ours).items()))).encode() + b"\n"
    journal = start_attempt(files, layout, Clock())
    journal.path.write_bytes(ours + others)
    assert read_journal(layout) == read_journal(layout).__class__((event, event), ())


def long_way(line: bytes) -> events.Event | str | None:
    """What a line spells, or `damaged`."""
    try:
        return decode_line(line)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
        return "damaged"


@given(
    line=st.sampled_from([encode_line(example(cls)) for cls in events.EVENTS.values()]),
    data=st.data(),
)
def test_both_ways_read_the_same(line, data):
    bad = bytearray(line)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(
            st.sampled_from([*b'0"{}[],:x\\\n\0'])
        )
    lines = [part + b"\n" for part in bytes(bad).split(b"\n") if part]
    with tempfile.TemporaryDirectory() as directory:
        layout = RunLayout(Path(directory))
        layout.journal.mkdir()
        layout.attempt_journal(1).write_bytes(b"".join(lines))
        view = read_journal(layout)
    spelled = [long_way(each) for each in lines]
    assert len(view.damaged) == spelled.count("damaged")
    assert sorted(map(repr, view.events)) == sorted(
        repr(each) for each in spelled if isinstance(each, events.Event)
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            b'{"v":1,"event":"finished","step":1,"epoch":1,"x":"' + b"a" * MAX_LINE_BYTES + b'"}\n',
            "the line has",
        ),
        (b'{"v":1,"event":"finished","step":"x","epoch":1}\n', "Expected `int`, got `str`"),
        (b'{"v":1,"event":"of_later","to":[[[[]]]]}\n', None),
        (b'{"v":1,"event":"finished', "malformed"),
    ],
)
def test_the_short_way_believes_no_more(layout, files, line, reason):
    journal = start_attempt(files, layout, Clock())
    journal.path.write_bytes(line)
    journal.record(events.TrainingStarted(step=2))
    view = read_journal(layout)
    assert [event.event for event in view.events] == (
        ["training_started"] if line.endswith(b"\n") else []
    )
    assert (reason is None and view.damaged == ()) or reason in view.damaged[0]


@given(data=st.data())
def test_a_journal_of_which_little_is_wanted_has_that_and_the_last_of_each_kind(data):
    kinds = list(events.EVENTS.values())
    told = data.draw(st.lists(st.sampled_from(kinds), max_size=20))
    wanted = frozenset(data.draw(st.sets(st.sampled_from(kinds))))
    with tempfile.TemporaryDirectory() as directory:
        layout, clock = RunLayout(Path(directory)), Clock()
        journal = start_attempt(FileSystem(), layout, clock)
        for cls in told:
            journal.record(example(cls))
        whole, skimmed = read_journal(layout).events, read_journal(layout, wanted=wanted).events
    assert [(event.time, event.attempt) for event in skimmed] == [
        (event.time, event.attempt) for event in whole
    ]
    last = {type(event): number for number, event in enumerate(whole)}
    for number, (event, seen) in enumerate(zip(whole, skimmed, strict=True)):
        assert (
            seen == event
            if type(event) in wanted or last[type(event)] == number
            else type(seen) is events.Event
        )


def test_a_line_that_is_skimmed_is_found_damaged(layout, files):
    journal = start_attempt(files, layout, Clock())
    for _ in range(3):
        journal.record(example(events.Saved))
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + lines[1][:-20] + b"\n" + lines[2])
    view = read_journal(layout, wanted=frozenset())
    assert [type(event) for event in view.events] == [events.Event, events.Saved]
    assert [each.partition(": ")[0] for each in view.damaged] == [f"{journal.path.name}:2"]
