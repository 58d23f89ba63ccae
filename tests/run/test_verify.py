"""How much of a checkpoint is read to verify it."""

from __future__ import annotations

import itertools

import msgspec
import pytest

import ckptkit
from ckptkit.clock import SystemClock
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.events import PassedOver
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.quarantine import Reason, quarantine, quarantined
from ckptkit.run.verify import SMALL_BYTES, verify
from tests.support.stored_run import start_attempt

LARGE = bytes(3 * SMALL_BYTES)


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_quick_look_reads_small_files_only(save, layout):
    flip(save(100, content=b"small") / "ckpt-100.index")
    flip(save(200, content=LARGE) / "ckpt-200.index")
    small, large = list_checkpoints(layout)
    with pytest.raises(ckptkit.CorruptCheckpointError, match="digest differs"):
        verify(small, quick=True)
    found = verify(large, quick=True)
    assert (found.in_full, found.read_bytes, found.size_bytes) == (False, 0, len(LARGE))
    with pytest.raises(ckptkit.CorruptCheckpointError, match="digest differs"):
        verify(large)


def test_in_full_every_byte_is_read_and_told(save, layout):
    save(content=LARGE)
    told = []
    (checkpoint,) = list_checkpoints(layout)
    assert verify(checkpoint, progress=told.append).in_full
    assert sum(told) == len(LARGE)


def test_reading_ends_when_its_time_is_over(save, layout):
    path = save(content=bytes(20 * SMALL_BYTES)) / "ckpt-100.index"
    (checkpoint,) = list_checkpoints(layout)
    seconds = itertools.count(0, 10)
    assert verify(checkpoint, budget_secs=1e9, now=lambda: next(seconds)).in_full
    seconds, told = itertools.count(0, 10), []
    found = verify(checkpoint, budget_secs=15, progress=told.append, now=lambda: next(seconds))
    assert not found.in_full
    assert 0 < sum(told) < 20 * SMALL_BYTES
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ckptkit.CorruptCheckpointError, match="its manifest says"):
        verify(checkpoint, budget_secs=0, now=lambda: next(seconds))


def test_small_files_are_read_whatever_the_time(save, layout):
    flip(save(content=b"small") / "ckpt-100.index")
    seconds = itertools.count(0, 10)
    with pytest.raises(ckptkit.CorruptCheckpointError, match="digest differs"):
        verify(list_checkpoints(layout)[0], budget_secs=0, now=lambda: next(seconds))


DAMAGE = {
    "missing": (lambda path: (path / "ckpt-100.index").unlink(), "ckpt-100.index"),
    "size": (lambda path: (path / "ckpt-100.index").write_bytes(b""), "ckpt-100.index"),
    "digest": (lambda path: flip(path / "ckpt-100.index"), "ckpt-100.index"),
    "manifest": (lambda path: (path / "manifest.json").write_text("{"), "manifest.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_reason_lies_beside_what_is_in_quarantine(save, layout, files, damage):
    spoil, file = DAMAGE[damage]
    journal = start_attempt(files, layout, SystemClock())
    for number in (1, 2):
        spoil(save())
        (checkpoint,) = list_checkpoints(layout)
        with pytest.raises(ckptkit.CorruptCheckpointError) as caught:
            verify(checkpoint)
        quarantine(files, layout, journal, checkpoint, caught.value)
        assert list_checkpoints(layout) == []
        found = quarantined(layout)
        assert len(found) == number
        reason = msgspec.json.decode(
            found[-1].with_name(found[-1].name + ".json").read_bytes(), type=Reason
        )
        assert reason == Reason(
            checkpoint="ckpt-100-1", damage=damage, file=file, message=str(caught.value), attempt=1
        )
    told = [event for event in read_journal(layout).events if isinstance(event, PassedOver)]
    assert [event.moved_to for event in told] == [
        "quarantine/ckpt-100-1",
        "quarantine/ckpt-100-1.2",
    ]
