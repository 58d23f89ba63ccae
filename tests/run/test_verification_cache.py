"""What the owner of a run knows of its checkpoints is read once, and still notices each change."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ckptkit
from ckptkit.clock import SystemClock
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.policies import Candidate
from ckptkit.run.checkpoint_catalog import Checkpoint, list_checkpoints
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.journal import Journal
from ckptkit.run.manifest import Manifest
from ckptkit.run.pins import Pin, pin
from ckptkit.run.retention import retain, review
from ckptkit.run.save_target import SaveContext
from ckptkit.run.set_aside import set_aside
from ckptkit.run.space_reclaim import make_room
from ckptkit.run.verification_cache import RECHECKS, CheckpointIndex, Finding
from ckptkit.run.verify import SMALL_BYTES
from ckptkit.storage.files import FileSystem
from tests.support.stored_run import manifest, start_attempt

_counting: list[list[str]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        for opened in _counting:
            opened.append(str(arguments[0]))


sys.addaudithook(_note)  # it cannot be removed, so one hook serves all tests


@contextmanager
def files_opened_in(directory: Path) -> Iterator[list[str]]:
    """Collect the files of checkpoints in a directory that the block opens."""
    every: list[str] = []
    found: list[str] = []
    _counting.append(every)
    try:
        yield found
    finally:
        _counting.remove(every)
        found += [path for path in every if path.startswith(f"{directory}/ckpt-")]


def write(layout: RunLayout, step: int, attempt: int = 1, content: bytes = b"tensors") -> Manifest:
    files = FileSystem()
    (begin_writing(files, layout, attempt) / f"ckpt-{step}.index").write_bytes(content)
    return commit(files, layout, manifest(step, attempt, metrics={"loss": 1.0 / step}))


def steps(layout: RunLayout) -> list[int]:
    return [checkpoint.step for checkpoint in list_checkpoints(layout)]


@pytest.fixture
def journal(layout: RunLayout) -> Journal:
    layout.pins.mkdir(parents=True)
    return start_attempt(FileSystem(), layout, SystemClock())


def save(index: CheckpointIndex, journal: Journal, step: int, keep: ckptkit.KeepLatest) -> None:
    """Save as the writer does: make room, commit, apply the keep policy."""
    files = FileSystem()
    make_room(
        SaveContext(files, index, journal, keep), Candidate(name=f"ckpt-{step}-1", step=step), 1
    )
    index.add(write(index.layout, step))
    retain(files, index, journal, keep)


@pytest.mark.parametrize("kept", [20, 60])
def test_a_save_reads_no_checkpoint_that_is_known(layout, journal, kept):
    """The number of files that a save opens does not grow with the checkpoints that are kept."""
    for step in range(1, kept + 1):
        write(layout, step)
    index, keep = CheckpointIndex(layout, journal.attempt), ckptkit.KeepLatest(kept)
    with files_opened_in(layout.checkpoints) as first:
        save(index, journal, kept + 1, keep)
    assert len({path for path in first if path.endswith("manifest.json")}) == kept
    for more in (2, 3):
        step = kept + more
        with files_opened_in(layout.checkpoints) as opened:
            save(index, journal, step, keep)
        assert opened == []
        assert steps(layout) == list(range(more + 1, step + 1)), "and the policy was applied"


def test_what_this_process_commits_is_never_read(layout, journal):
    index = CheckpointIndex(layout, journal.attempt)
    index.add(write(layout, 1))
    with files_opened_in(layout.checkpoints) as opened:
        ((checkpoint, finding),) = index.examine()
    assert opened == []
    assert finding.candidate == checkpoint.candidate


def test_a_second_save_at_a_step_replaces_what_was_known(layout, journal):
    index = CheckpointIndex(layout, journal.attempt)
    index.add(write(layout, 1))
    index.add(write(layout, 1, content=b"other tensors"))
    assert not index.forget_changed([CheckpointName(1, 1)])


def test_another_process_newest_is_read_in_full_once(layout, journal):
    write(layout, 1, content=bytes(SMALL_BYTES + 1))
    read: list[int] = []
    index = CheckpointIndex(layout, attempt=7)
    index.examine(read.append)
    index.examine(read.append)
    assert sum(read) == SMALL_BYTES + 1


def test_a_newest_that_vanished_has_the_one_before_it_read_in_full(layout, journal):
    """It was verified quickly before, as one that nothing rested on."""
    path = layout.checkpoint(write(layout, 1, content=bytes(SMALL_BYTES + 1)).name)
    (path / "ckpt-1.index").write_bytes(bytes(SMALL_BYTES) + b"x")
    write(layout, 2)
    index = CheckpointIndex(layout, attempt=7)
    assert [finding.damage for _, finding in index.examine()] == ["", ""]
    shutil.rmtree(layout.checkpoint(CheckpointName(2, 1)))
    ((_, finding),) = index.examine()
    assert "digest differs" in finding.damage


@pytest.mark.parametrize("how", ["deleted", "set aside"])
def test_a_checkpoint_that_another_program_took_is_noticed(layout, journal, how):
    index = CheckpointIndex(layout, journal.attempt)
    for step in (1, 2, 3):
        index.add(write(layout, step))
    index.examine()
    if how == "deleted":
        shutil.rmtree(layout.checkpoint(CheckpointName(2, 1)))
    else:
        set_aside(FileSystem(), layout.checkpoint(CheckpointName(2, 1)), layout.quarantine)
    assert [checkpoint.step for checkpoint, _ in index.examine()] == [1, 3]
    retain(FileSystem(), index, journal, ckptkit.KeepLatest(2))
    assert steps(layout) == [1, 3], "two are left, and two are kept"


def test_a_pin_is_noticed(layout, journal):
    index = CheckpointIndex(layout, journal.attempt)
    for step in (1, 2, 3):
        index.add(write(layout, step))
    assert [each.stays for each in review(index, ckptkit.KeepLatest(1))] == [False, False, True]
    pin(FileSystem(), layout, CheckpointName(1, 1), Pin())
    retain(FileSystem(), index, journal, ckptkit.KeepLatest(1))
    assert steps(layout) == [1, 3]


@pytest.mark.parametrize("damage", ["a file is deleted", "a file is written over"])
@pytest.mark.parametrize("number", [2, 3 * RECHECKS])
def test_what_a_removal_rests_on_is_checked_again(layout, journal, number, damage):
    """The newest is damaged after its commit: nothing is given up for it."""
    index = CheckpointIndex(layout, journal.attempt)
    for step in range(1, number + 1):
        index.add(write(layout, step))
    index.examine()
    file = layout.checkpoint(CheckpointName(number, 1)) / f"ckpt-{number}.index"
    if damage == "a file is deleted":
        file.unlink()
    else:
        file.write_bytes(b"others, longer")
    retain(FileSystem(), index, journal, ckptkit.KeepLatest(1))
    assert steps(layout) == [number - 1, number], "the newest whole one, and what is damaged"


def test_what_is_to_go_is_checked_again(layout, journal):
    """Damage is noticed before the removal: the owner does not delete a damaged checkpoint."""
    index = CheckpointIndex(layout, journal.attempt)
    number = 3 * RECHECKS
    for step in range(1, number + 1):
        index.add(write(layout, step))
    index.examine()
    (layout.checkpoint(CheckpointName(number // 2, 1)) / "manifest.json").write_bytes(b"{")
    retain(FileSystem(), index, journal, ckptkit.KeepLatest(1))
    assert steps(layout) == [number // 2, number]


def test_damage_anywhere_is_noticed_some_saves_later(layout, journal):
    """Each look checks a few more, so the best one of a large run is not trusted for ever."""
    index = CheckpointIndex(layout, journal.attempt)
    number = 3 * RECHECKS
    for step in range(1, number + 1):
        index.add(write(layout, step))
    (layout.checkpoint(CheckpointName(number // 2, 1)) / f"ckpt-{number // 2}.index").unlink()
    looks = [sum(bool(finding.damage) for _, finding in index.examine()) for _ in range(4)]
    assert looks[-1] == 1


def test_a_refusal_of_the_system_is_not_remembered(layout, journal):
    """A checkpoint that cannot be read for want of descriptors is whole at the next look."""
    refusals = [ckptkit.StorageError(errno.EMFILE, "too many open files")]

    def refuse_once(checkpoint: Checkpoint, **how: object) -> None:
        if refusals:
            raise refusals.pop()

    write(layout, 1)
    index = CheckpointIndex(layout, verify=refuse_once)
    ((_, refused),) = index.examine()
    assert (refused.refused, refused.candidate) == (True, None)
    ((checkpoint, finding),) = index.examine()
    assert finding == Finding(checkpoint.candidate)
