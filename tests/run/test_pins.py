"""Pins: one file each, that count by their names, whatever is in them."""

from __future__ import annotations

import json
import os

import pytest

import ckptkit
from ckptkit.layout import CheckpointName
from ckptkit.run.pins import Pin, pin, pinned, read_pins, unpin
from ckptkit.storage.files import FileSystem

NAME = CheckpointName(100, 1)


def test_a_pin_tells_when_and_why_and_goes_again(save, layout, files):
    save()
    assert pinned(layout) == frozenset()
    pin(files, layout, NAME, Pin(pinned_at=5.0, note="the one in the paper"))
    assert json.loads(layout.pin(NAME).read_text()) == {
        "pinned_at": 5.0,
        "note": "the one in the paper",
        "format_version": 1,
    }
    pin(files, layout, NAME, Pin(pinned_at=6.0, note="another reason"))
    assert read_pins(layout) == {NAME: Pin(pinned_at=6.0, note="another reason")}
    unpin(files, layout, NAME)
    unpin(files, layout, NAME)
    assert list(layout.pins.iterdir()) == []


def test_what_is_not_there_is_not_pinned(layout, files):
    with pytest.raises(ckptkit.CheckpointNotFoundError, match="ckpt-100-1"):
        pin(files, layout, NAME, Pin())
    assert not layout.pins.exists()
    unpin(files, layout, NAME)


class TakenAwayMeanwhile(FileSystem):
    """Training takes the checkpoint away at the moment when the pin is written."""

    def replace_content(self, path, data):
        layout_root = path.parent.parent
        (layout_root / "checkpoints" / str(NAME)).rename(layout_root / "gone")
        super().replace_content(path, data)


def test_a_pin_that_came_too_late_is_said_and_leaves_nothing(save, layout):
    save()
    with pytest.raises(ckptkit.CheckpointNotFoundError, match="just removed it"):
        pin(TakenAwayMeanwhile(), layout, NAME, Pin())
    assert pinned(layout) == frozenset()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        os.urandom(500),
        b"[" * 100_000,
        b'{"note": 7}',
        b'{"note": "' + b"x" * 100_000 + b'"}',
        b'{"pinned_at": 1e999}',
    ],
    ids=[
        "empty",
        "torn",
        "a list",
        "null",
        "garbage",
        "deep",
        "another type",
        "too large",
        "infinite",
    ],
)
def test_a_damaged_pin_is_a_pin(layout, content):
    layout.pins.mkdir(parents=True)
    layout.pin(NAME).write_bytes(content)
    assert pinned(layout) == {NAME}
    assert read_pins(layout) == {NAME: Pin()}


def test_a_later_version_is_a_pin(layout):
    layout.pins.mkdir(parents=True)
    layout.pin(NAME).write_text('{"pinned_at": 1.0, "note": "x", "format_version": 99, "by": "a"}')
    assert read_pins(layout)[NAME].note == "x"


def test_what_is_no_pin_is_left_out(layout, tmp_path):
    layout.pins.mkdir(parents=True)
    for name in (
        "ckpt-1-1.json.tmp",
        "ckpt-1.json",
        "notes.txt",
        "ckpt-1-1",
        "CKPT-1-1.json",
        "ckpt-1-1.JSON",
    ):
        (layout.pins / name).write_text("{}")
    assert pinned(layout) == frozenset()


def test_nothing_outside_of_the_run_is_read_or_written(save, layout, files, tmp_path):
    save()
    outside = tmp_path / "outside"
    outside.write_text('{"pinned_at": 1.0, "note": "secret"}')
    layout.pin(NAME).symlink_to(outside)
    assert read_pins(layout) == {NAME: Pin()}
    layout.pin(NAME).unlink()
    layout.pin(NAME).with_name("ckpt-100-1.json.tmp").symlink_to(outside)
    pin(files, layout, NAME, Pin(note="mine"))
    assert "secret" in outside.read_text()
    assert read_pins(layout)[NAME].note == "mine"


def test_a_pipe_in_the_place_of_a_pin_holds_nobody_up(layout):
    layout.pins.mkdir(parents=True)
    os.mkfifo(layout.pin(NAME))
    assert read_pins(layout) == {NAME: Pin()}


def test_a_directory_in_the_place_of_a_pin(layout, files):
    layout.pin(NAME).mkdir(parents=True)
    assert read_pins(layout) == {NAME: Pin()}
    with pytest.raises(ckptkit.StorageError, match="is a directory"):
        unpin(files, layout, NAME)


def test_where_pins_cannot_be_listed_nothing_is_said_to_be_free(layout):
    layout.root.mkdir()
    layout.pins.write_text("no directory")
    with pytest.raises(ckptkit.StorageError, match="Could not list"):
        pinned(layout)
