"""A save of several workers ends on each of them as it does on the first one."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from ckptkit.errors import BackgroundSaveError, ConfigError, StorageError, WorkerLost
from ckptkit.position import RunPosition
from ckptkit.run.launcher_channel import Failure
from ckptkit.session import worker_saves
from ckptkit.session.job_description import _comparable
from ckptkit.session.launcher_failure_report import error_of_first
from ckptkit.session.snapshot_writer import SnapshotWriter, Taken
from ckptkit.session.worker_saves import PartCollector, PartSender
from ckptkit.tracking.snapshot import Snapshot
from ckptkit.tracking.worker_part import WorkerPart
from ckptkit.workers.coordinated import Coordinated
from tests.support.key_values import SharedKeyValues

AT = RunPosition(step=3)
FULL = StorageError("no space left on the disk")
FULL.errno = errno.ENOSPC


def taken(tensors: dict[str, Any] | None = None) -> Taken:
    snapshot = Snapshot((), ())
    snapshot.__dict__["tensors"] = tensors or {}
    return Taken(snapshot, AT, {}, False, 0.0, 0.0)


class Writing(SnapshotWriter):
    """Writes nothing, and ends as it is told to."""

    def __init__(self, collector: PartCollector, ends: BaseException | None) -> None:
        self.collector, self._ends = collector, ends
        self.unsaved, self._refused = None, None

    def _write(self, taken: Any, manifest: Any, *, periodic: bool) -> None:
        if self._ends is FULL and periodic:
            self.unsaved, self._refused = taken.position, FULL
        elif self._ends is not None:
            raise self._ends


def save(ends: BaseException | None = None, **options: Any) -> list[Any]:
    """Save once on two workers; return each one's error and what it has not saved."""
    store = SharedKeyValues()
    clusters = [Coordinated(rank, 2, store, "job") for rank in range(2)]
    first = Writing(PartCollector(clusters[0], options.pop("inexact", pytest.fail)), ends)
    writers = [first, PartSender(clusters[1], lambda *saved: None)]

    def one(writer: Any) -> Any:
        manifest = SimpleNamespace(step=3)
        job = writer.job(taken(options.get("tensors")), manifest, must=False, periodic=True)
        try:
            job.run()
        except BaseException as error:
            return error, writer.unsaved
        return None, writer.unsaved

    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(one, writers), writers[1]]


def test_a_full_disk_ends_no_worker():
    first, other, sender = save(FULL)
    assert first == other == (None, AT)
    with pytest.raises(BackgroundSaveError, match="no space left"):
        sender.check_space()


def test_all_is_saved():
    first, other, sender = save()
    assert first == other == (None, None)
    sender.check_space()


def test_an_error_of_the_disk_is_told():
    (first, _), (other, unsaved), _ = save(StorageError("a bad disk"))
    assert isinstance(first, StorageError)
    assert isinstance(other, BackgroundSaveError)
    assert "StorageError: a bad disk" in str(other)
    assert unsaved == AT


def test_a_loss_during_a_save_stays_a_loss(monkeypatch: pytest.MonkeyPatch):
    for error, _ in save(WorkerLost("worker 2 has ended"))[:2]:
        assert isinstance(error, WorkerLost)
        assert "worker 2 has ended" in str(error)
    # A part that does not come, too.
    monkeypatch.setattr(worker_saves, "PART_SECS", 0.1)
    collector = PartCollector(Coordinated(0, 2, SharedKeyValues(), "job"), pytest.fail)
    with pytest.raises(WorkerLost, match="rank 1"):
        collector.expect(AT).complete(taken())


def test_other_bits_are_reported_once_and_saved(monkeypatch: pytest.MonkeyPatch):
    digests = iter([{"model/0": 1}, {"model/0": 2}] * 3)
    monkeypatch.setattr(worker_saves, "part_of", lambda snapshot, at: WorkerPart(at=at))
    monkeypatch.setattr(worker_saves, "shared_digests", lambda snapshot: next(digests))
    tensors = {"model/0": (SimpleNamespace(path="dense/kernel"), None)}
    said: list[str] = []
    assert save(inexact=said.append, tensors=tensors)[:2] == [(None, None)] * 2
    (reason,) = said
    assert "worker 1 has other values than worker 0 in 1 variables" in reason
    assert "dense/kernel" in reason
    collector = PartCollector(Coordinated(0, 2, SharedKeyValues(), "job"), said.append)
    for _ in range(3):
        collector._differ(1, ["dense/kernel"])
    assert len(said) == 2

    def refuse(reason: str) -> None:
        raise ConfigError("exact='require'")

    (first, _), (other, _), _ = save(inexact=refuse, tensors=tensors)
    assert isinstance(first, ConfigError)
    assert "exact='require'" in str(other)


def test_an_error_of_the_first_worker_decides_whether_all_start_again():
    lost = error_of_first(Failure(error="StorageError", message="a bad disk"), "restore the run")
    assert isinstance(lost, WorkerLost)
    wrong = error_of_first(
        Failure(error="IncompatibleStateError", message="dense", restart=False), "restore the run"
    )
    assert isinstance(wrong, ConfigError)
    assert str(wrong) == "Worker 0 could not restore the run: IncompatibleStateError: dense"


def test_an_option_without_a_text_of_its_own_is_the_same_on_all_workers():
    class Custom:
        pass

    assert _comparable(Custom()) == _comparable(Custom())
    assert _comparable([Custom()]) == _comparable([Custom()])
    assert _comparable(AT) != _comparable(RunPosition(step=4))
