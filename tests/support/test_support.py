"""The helpers of the tests themselves: what they wait for, and the disks that act."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptkit.errors import StorageError
from ckptkit.layout import RunLayout
from ckptkit.run.commit import begin_writing, commit
from tests.support.disks import Disk, finishes_files, starts_a_save, syncs_a_new_file
from tests.support.journals import events_of
from tests.support.polling import until
from tests.support.stored_run import manifest


def test_a_wait_returns_what_it_waited_for() -> None:
    found = iter([0, 0, 7])
    assert until(lambda: next(found), every_secs=0) == 7


def test_a_wait_in_vain_quotes_its_condition() -> None:
    number = 1
    with pytest.raises(AssertionError, match="number == 2"):
        until(lambda: number == 2, 0)


def test_what_is_no_run_has_no_events(tmp_path: Path) -> None:
    assert events_of(tmp_path / "nothing", "saved") == []


def save(files: Disk, root: Path) -> Path:
    layout = RunLayout(root)
    (begin_writing(files, layout, 1) / "ckpt-100.index").write_bytes(b"tensors")
    return layout.checkpoint(commit(files, layout, manifest()).name)


def test_a_disk_acts_before_and_after_what_was_chosen(tmp_path: Path) -> None:
    seen: list[tuple[str, bool, list[str]]] = []

    def note(name: str) -> Callable[[Path], object]:
        return lambda path: seen.append(
            (name, path.exists(), sorted(each.name for each in path.glob("*")))
        )

    files = Disk().before(starts_a_save, note("start")).after(finishes_files, note("end"), times=1)
    save(files, tmp_path)
    assert seen[0] == ("start", False, [])
    assert seen[1] == ("end", True, ["ckpt-100.index", "manifest.json"])
    assert len(seen) == 2


def test_a_disk_refuses_until_it_is_healed(tmp_path: Path) -> None:
    files = Disk().refuse(syncs_a_new_file, OSError(errno.EIO, "broken"))
    with pytest.raises(StorageError, match="broken"):
        save(files, tmp_path / "a")
    assert files.reached == 1
    files.heal()
    assert save(files, tmp_path / "b").is_dir()
