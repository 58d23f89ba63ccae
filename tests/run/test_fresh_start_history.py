"""A flipped bit or a lost file of the journal never sets a training aside, and starts at step 0."""

from __future__ import annotations

import json
import random
import shutil

import pytest

import ckptkit
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.run import events
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.fresh_start import set_aside_earlier_lives
from ckptkit.run.fresh_start_history import fresh_start_labels
from ckptkit.run.journal_reader import decode_line, read_journal
from ckptkit.testing import FakeClock
from tests.support.disks import Unsynced
from tests.support.stored_run import manifest, start_attempt

LABEL = "lr 0.1"
DISK = Unsynced()


def begin(layout):
    """Start an attempt under the label; return its journal."""
    journal = start_attempt(DISK, layout, FakeClock())
    journal.record(events.TrainingStarted(step=0))
    set_aside_earlier_lives(DISK, layout, journal, LABEL)
    return journal


def save(layout, journal, step, *, is_older=False):
    (begin_writing(DISK, layout, journal.attempt) / f"ckpt-{step}.index").write_bytes(b"tensors")
    history = fresh_start_labels(layout, DISK)
    labels = None if is_older or history.doubts else history.labels
    commit(DISK, layout, manifest(step, journal.attempt, fresh_labels=labels))
    journal.record(events.TrainingStarted(step=step))


def second_life(layout, *, is_older=False, saves=1):
    """A run whose first life was set aside under the label, and whose second has saved."""
    first = start_attempt(DISK, layout, FakeClock())
    DISK.make_dir(layout.checkpoints)
    save(layout, first, 100, is_older=is_older)
    journal = begin(layout)
    journal.record(events.TrainingStarted(step=0))
    for step in range(1, saves + 1):
        save(layout, journal, step, is_older=is_older)
    if is_older:
        shutil.rmtree(layout.fresh)
    return layout


def steps_after_a_start(layout):
    begin(layout)
    return [path.name for path in layout.checkpoints.iterdir()]


def damages(layout, chosen, number):
    """Random damages: a lost file or a flipped bit, in the journal, the records or a manifest."""
    paths = [
        *layout.journal.iterdir(),
        *layout.fresh.iterdir(),
        layout.checkpoint(CheckpointName(1, 2)) / "manifest.json",
    ]
    whole = {path: path.read_bytes() for path in paths}
    for _ in range(number):
        path = chosen.choice(paths)
        if chosen.random() < 0.2:
            path.unlink()
            yield f"{path.name} is lost"
        else:
            data = bytearray(whole[path])
            bit = chosen.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
            yield f"bit {bit} of {path.name} is flipped"
        path.write_bytes(whole[path])
        for extra in set(layout.journal.iterdir()) - set(paths):
            extra.unlink()


def starts_of(layout):
    found = [e for e in read_journal(layout).events if isinstance(e, events.SetAside)]
    return [(event.label, event.attempt) for event in found]


def test_any_single_damage_leaves_the_life_where_it_is(tmp_path, seed):
    layout = second_life(RunLayout(tmp_path / "run"))
    for damage in damages(layout, random.Random(seed), 300):
        assert "ckpt-1-2" in steps_after_a_start(layout), damage
        # A line with another label may be there too; it speaks of the same attempt.
        assert (LABEL, 2) in starts_of(layout), damage
        assert {attempt for _, attempt in starts_of(layout)} == {2}, damage
    assert len(list(layout.aside.iterdir())) == 1


def test_a_life_without_a_save_is_not_counted_with_the_first_one(tmp_path):
    """Else the saves of the first life would be missed, and the run could not be started."""
    layout = second_life(RunLayout(tmp_path / "run"), saves=0)
    shutil.rmtree(layout.journal)
    begin(layout)
    assert starts_of(layout) == [(LABEL, 2)]
    assert len(list(layout.aside.iterdir())) == 1


def test_each_bit_of_the_line_in_a_run_of_an_earlier_version(tmp_path):
    """Nothing but the line tells of the label. What cannot be read is never taken for a no."""
    layout = second_life(RunLayout(tmp_path / "run"), is_older=True)
    path = layout.attempt_journal(2)
    whole = path.read_bytes()
    begins = whole.index(b'{"v":1,"event":"set_aside"')
    refused = 0
    for bit in range(8 * begins, 8 * (whole.index(b"\n", begins) + 1)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        shutil.copytree(layout.root, copy := tmp_path / "copy")
        try:
            names = steps_after_a_start(RunLayout(copy))
        except ckptkit.ConfigError as error:
            refused += "leave fresh out" in str(error)
        else:
            line = bytes(data[begins : whole.index(b"\n", begins)])
            if is_another_label(line):
                continue  # a good line: no reader can know better
            assert "ckpt-1-2" in names, bytes(data)
        finally:
            shutil.rmtree(copy)
    assert refused > 100


def is_another_label(line):
    try:
        event = decode_line(line)
    except ValueError:
        return False
    return isinstance(event, events.SetAside) and event.label != LABEL


def test_a_lost_journal_of_an_earlier_version(tmp_path):
    layout = second_life(RunLayout(tmp_path / "run"), is_older=True)
    layout.attempt_journal(2).unlink()
    with pytest.raises(ckptkit.ConfigError, match="attempt-000002\\.jsonl is missing"):
        begin(layout)
    assert (layout.checkpoints / "ckpt-1-2").is_dir()


def test_a_run_of_an_earlier_version_gets_a_record(tmp_path):
    layout = second_life(RunLayout(tmp_path / "run"), is_older=True)
    begin(layout)
    shutil.rmtree(layout.journal)
    assert "ckpt-1-2" in steps_after_a_start(layout)


def test_half_a_line_of_a_killed_process_is_no_doubt(tmp_path):
    layout = second_life(RunLayout(tmp_path / "run"), is_older=True)
    with layout.attempt_journal(1).open("ab") as file:
        file.write(b'{"v":1,"event":"set_as')
    journal = start_attempt(DISK, layout, FakeClock())
    set_aside_earlier_lives(DISK, layout, journal, "another")
    assert not list(layout.checkpoints.iterdir())


def test_labels_that_json_and_names_of_files_do_not_like(tmp_path):
    layout = RunLayout(tmp_path / "run")
    labels = ["../x", "a\nb", "é", "z" * 5000, "", json.dumps({"a": 1})]
    for label in labels:
        journal = start_attempt(DISK, layout, FakeClock())
        set_aside_earlier_lives(DISK, layout, journal, label)
        set_aside_earlier_lives(DISK, layout, journal, label)
    assert [event.label for event in read_journal(layout).events] == labels
    assert len(list(layout.fresh.iterdir())) == len(labels)
