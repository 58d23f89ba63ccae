"""Through a link that leads out of a run, nothing is removed: it may be another run's."""

from __future__ import annotations

import pytest

from ckptkit.clock import SystemClock
from ckptkit.exports import version_directories
from ckptkit.exports.export_record import ExportRecord, ExportSource
from ckptkit.exports.unfinished_versions import lock_of, new_name
from ckptkit.run.manifest import ManifestHead
from ckptkit.storage.files import FileSystem
from ckptkit.storage.symlinks import leads_out, leads_out_of_its_run
from ckptkit.tensorboard.run_summaries import RunSummaries
from tests.support.stored_run import start_attempt


def publish(base, step):
    files = FileSystem()
    record = ExportRecord(
        exported_at=0.0,
        model="m",
        source=ExportSource(step=step),
        signatures={},
        default="",
        sample="",
        variables="",
        check_secs=0.0,
    )
    with version_directories.writing(files, base, step) as directory:
        (directory / "saved_model.pb").write_bytes(b"model")
        version_directories.publish(files, directory, record, step, 0.0)


def versions(base):
    return [each.number for each in version_directories.list_versions(base)]


def left_over(base):
    name = new_name()
    base.mkdir(parents=True, exist_ok=True)
    lock_of(base, name).touch()
    directory = base / f".writing-3-{name}"
    directory.mkdir()
    return directory


@pytest.fixture
def other(tmp_path):
    """The exports of another run, with what a dead process left there."""
    base = tmp_path / "other" / "export"
    (base.parent / "journal").mkdir(parents=True)
    publish(base, 1)
    publish(base, 2)
    return base


def test_versions_of_another_run_stay(save, layout, other):
    save()
    layout.journal.mkdir()
    layout.export.symlink_to(other, target_is_directory=True)
    left = left_over(other)
    publish(layout.export, 3)
    assert version_directories.retain(FileSystem(), layout.export, keep=1) == []
    assert versions(other) == [1, 2, 3]
    assert left.is_dir()
    # The other run itself removes its own.
    publish(other, 4)
    assert len(version_directories.retain(FileSystem(), other, keep=1)) == 3
    assert versions(other) == [4]
    assert not left.exists()


def test_a_link_that_stays_in_the_run_and_a_linked_run_are_no_way_out(layout, tmp_path):
    layout.journal.mkdir(parents=True)
    (layout.root / "models").mkdir()
    layout.export.symlink_to("models", target_is_directory=True)
    linked = tmp_path / "linked"
    linked.symlink_to(layout.root, target_is_directory=True)
    for base in (layout.export, layout.root / "models", linked / "export"):
        assert not leads_out_of_its_run(base)
        publish(base, len(versions(base)) + 1)
    assert versions(layout.export) == [1, 2, 3]
    assert len(version_directories.retain(FileSystem(), linked / "export", keep=1)) == 2


def test_a_directory_that_the_user_has_named_may_be_a_link(tmp_path, other):
    base = tmp_path / "served"
    base.symlink_to(other, target_is_directory=True)
    assert not leads_out_of_its_run(base)


def test_the_history_of_another_run_stays(layout, files, tmp_path):
    elsewhere = tmp_path / "other" / "tensorboard"
    history = elsewhere / "history"
    history.mkdir(parents=True)
    others = history / "events.out.tfevents.0000000007.history"
    others.write_bytes(b"another run's")
    layout.root.mkdir()
    layout.tensorboard.symlink_to(elsewhere, target_is_directory=True)
    assert leads_out(layout.root, layout.tensorboard / "history")
    journal = start_attempt(files, layout, SystemClock())
    saved = ManifestHead(step=1, epoch=0, batch=0, attempt=1, saved_at=1.0, trigger="due")
    for _ in range(2):
        board = RunSummaries(files, layout, SystemClock(), journal)
        board.saved(saved, new_bytes=1, stall_secs=0.1, write_secs=0.1)
        board.end()
    assert others.read_bytes() == b"another run's"
    # Of each attempt one file is left: it removes its own earlier ones.
    assert len(list(history.iterdir())) == 3
