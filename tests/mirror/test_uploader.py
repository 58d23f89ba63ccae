"""The thread that uploads: it does not die, sends what was committed, and says what is missing."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from ckptkit.errors import BackgroundSaveError, RunLockedError, StorageError
from ckptkit.mirror import mirror_session
from ckptkit.mirror import uploader as uploader_module
from ckptkit.mirror.mirror_session import MirrorSession
from ckptkit.mirror.mirror_settings import Mirror
from ckptkit.policies import KeepLatest
from ckptkit.testing import FakeClock
from tests.mirror.store_lives import (
    URL,
    Life,
    UnsyncedFiles,
    end,
    live,
    newest_step,
    seen_by_readers,
)
from tests.support.memory_objects import MemoryBucket, MemoryObjects

_WAIT_SECS = 60


@pytest.fixture
def bucket():
    return MemoryBucket()


@pytest.fixture
def opened(bucket, new_directory):
    life = Life(MemoryObjects(bucket), new_directory())
    life.open()
    life.at = 1
    life.save(1)
    yield life
    life.uploader.close()
    end(life)


@pytest.mark.parametrize(
    "problem",
    [
        StorageError(errno.EIO, "the disk hiccups"),
        OSError(errno.ESTALE, "Stale file handle"),
        MemoryError("no memory"),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_the_thread_survives_any_error_also_while_it_reports_one(opened, monkeypatch, problem):
    fails = [2]  # in the work, and in the report about it

    def list_checkpoints(layout):
        if fails[0]:
            fails[0] -= 1
            raise problem
        return original(layout)

    original = uploader_module.list_checkpoints
    monkeypatch.setattr(uploader_module, "list_checkpoints", list_checkpoints)
    opened.uploader.start()
    with pytest.raises(BackgroundSaveError, match=str(problem.args[-1])):
        opened.uploader.wait(_WAIT_SECS)
    assert opened.uploader.is_working
    opened.uploader.wait(_WAIT_SECS)
    assert newest_step(opened.objects.bucket) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_waits_for_a_thread_that_has_ended_gets_an_error(opened, monkeypatch):
    def ends():
        raise SystemExit

    monkeypatch.setattr(opened.uploader, "work", ends)
    opened.uploader.start()
    opened.uploader.notify()
    with pytest.raises(BackgroundSaveError, match="thread that uploads has ended"):
        opened.uploader.wait()


def test_a_journal_that_lost_its_run_ends_the_uploads(opened, monkeypatch):
    def lost(event):
        raise RunLockedError("another process has the run")

    monkeypatch.setattr(opened.journal, "record", lost)
    opened.uploader.start()
    with pytest.raises(RunLockedError):
        opened.uploader.wait(_WAIT_SECS)
    assert isinstance(opened.uploader.lost, RunLockedError)


def test_a_second_save_during_the_upload_of_the_first(opened):
    """The directory is replaced under the upload: what counts is whole, and is the second save."""
    objects, saved = opened.objects, []
    put_file = objects.put_file

    def put(key, path):
        if not saved:
            saved.append(path)
            opened.shared = b"A FILE THAT DOES NOT CHANGE"  # of the same size
            opened.save(1, saved_at=2e9, final=True)
        return put_file(key, path)

    def check(number: int, what: str, after: bool) -> None:
        if what.startswith("create checkpoints/") and after:
            seen_by_readers(objects.bucket)

    objects.put_file, objects._hook = put, check
    opened.uploader.work()
    assert saved
    (data,) = seen_by_readers(objects.bucket).values()
    assert b'\\"final\\": true' in data


def test_bytes_that_differ_from_the_manifest_are_not_committed(opened):
    (path,) = Path(opened.directory).rglob("shared.data")
    path.write_bytes(path.read_bytes().swapcase())
    opened.uploader.start()
    with pytest.raises(BackgroundSaveError, match=r"shared\.data is damaged"):
        opened.uploader.wait(_WAIT_SECS)
    assert seen_by_readers(opened.objects.bucket) == {}
    assert not [key for key in opened.objects.bucket.objects if key.startswith("data/")]
    assert "files/journal/attempt-000001.jsonl" not in opened.objects.bucket.objects
    with pytest.raises(BackgroundSaveError):
        opened.uploader.wait(_WAIT_SECS)
    # It is not sent again and again, and the journal travels.
    assert "files/journal/attempt-000001.jsonl" in opened.objects.bucket.objects


def test_saves_that_are_faster_than_uploads_do_not_fill_the_store(bucket, new_directory):
    most, journals = [0], []

    def faster(number: int, what: str, after: bool) -> None:
        if after and what.startswith("put data/") and what.endswith(".index") and life.at < 20:
            life.at += 1
            life.save(life.at)
        if after and what.startswith("put files/journal"):
            journals.append(what)
        most[0] = max(most[0], sum(key.startswith("checkpoints/") for key in bucket.objects))

    life = Life(MemoryObjects(bucket, faster), new_directory())
    life.open()
    life.at = 1
    life.save(1)
    life.uploader.work()
    assert newest_step(bucket) == 20
    assert most[0] <= 3  # the policy keeps two
    assert len(journals) == 1, "it is sent whole, so not after each of these uploads"
    end(life)


def test_a_wait_does_not_confirm_what_readers_of_the_store_would_not_see(bucket, new_directory):
    """Another machine has opened the run without the newest checkpoint of the directory."""
    directory = new_directory()
    first = Life(MemoryObjects(bucket), directory)
    first.open()
    first.step()
    first.save(2)
    end(first)
    assert live(Life(MemoryObjects(bucket), new_directory(), 0)) is None
    again = Life(MemoryObjects(bucket), directory)
    again.open()
    again.uploader.start()
    with pytest.raises(BackgroundSaveError, match="ckpt-2-1 was saved before another machine"):
        again.uploader.wait(_WAIT_SECS)
    again.save(3)
    again.uploader.wait(_WAIT_SECS)
    assert newest_step(bucket) == 3
    again.uploader.close()
    end(again)


def test_a_checkpoint_that_retention_leaves_in_place_is_uploaded_later(opened, monkeypatch):
    """Retention marks it as leaving, and then finds a reader."""
    leaving = [True]
    monkeypatch.setattr(uploader_module, "is_leaving", lambda *_: leaving[0])
    opened.uploader.start()
    with pytest.raises(BackgroundSaveError, match="is being removed"):
        opened.uploader.wait(_WAIT_SECS)
    leaving[0] = False
    opened.uploader.wait(_WAIT_SECS)
    assert newest_step(opened.objects.bucket) == 1


def test_a_run_is_not_released_while_an_upload_still_runs(bucket, new_directory, monkeypatch):
    """The next owner then waits for silence, and shares no files with it."""
    monkeypatch.setattr("ckptkit.mirror.mirror_session.PATIENCE_SECS", 0.1)
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(number: int, what: str, after: bool) -> None:
        if what.startswith("put data/") and not after:
            hangs.set()
            assert goes_on.wait(_WAIT_SECS)

    life = Life(MemoryObjects(bucket, hang), new_directory())
    life.open()
    session = MirrorSession(
        Mirror(URL), life.layout, UnsyncedFiles(), FakeClock(), MemoryObjects(bucket)
    )
    session._mirror, session._uploader, session._deadline = life.mirror, life.uploader, 0.0
    life.save(1)
    life.uploader.start()
    life.uploader.notify()
    assert hangs.wait(_WAIT_SECS)
    session._close()
    life.mirror.release()
    assert bucket.objects["claims/000001.alive"] != b"released"
    goes_on.set()
    life.uploader.close()
    end(life)


def test_an_upload_in_progress_counts_for_the_time_that_is_left(bucket, new_directory):
    sizes = []

    def look(number: int, what: str, after: bool) -> None:
        if what.startswith("put data/") and not after and not sizes:
            life.save(2)
            sizes.append(life.uploader.unsent_bytes())

    life = Life(MemoryObjects(bucket, look), new_directory(), policy=KeepLatest(5))
    life.open()
    life.save(1)
    one = life.uploader.unsent_bytes()
    life.uploader.work()
    assert sizes == [2 * one]
    assert not life.uploader.speeds  # so little data is all latency
    end(life)


def test_a_run_that_is_never_closed_is_closed_at_the_exit(opened, caplog):
    """The interpreter ends while the program still has it open, with a save that was not sent."""
    bucket, layout = opened.objects.bucket, opened.layout
    session = MirrorSession(
        Mirror(URL), layout, UnsyncedFiles(), FakeClock(), MemoryObjects(bucket)
    )
    session._mirror, session._uploader = opened.mirror, opened.uploader
    mirror_session._open_sessions.add(session)
    with caplog.at_level("WARNING", "ckptkit"):
        mirror_session._at_exit()
    assert "ckpt-1-1 is in" in caplog.text
    assert bucket.objects["claims/000001.alive"] == b"released"
    assert session not in mirror_session._open_sessions
