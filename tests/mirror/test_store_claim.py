"""The claim of a process on the store: who waits, who is free, and who gives signs of life."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from ckptkit.errors import ConfigError, RunLockedError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.mirror.mirror_session import MirrorSession
from ckptkit.mirror.mirror_settings import Mirror
from ckptkit.mirror.obstore_client import _with_timeout
from ckptkit.mirror.store_claim import StoreClaimHolder, wait_until_free
from ckptkit.mirror.store_layout import alive_key
from ckptkit.ownership.run_lock import RunLock
from ckptkit.policies import KeepBest, KeepLatest
from ckptkit.run.journal import Journal
from ckptkit.session.monitor_directions import with_directions
from ckptkit.session.options import make_options
from ckptkit.testing import FakeClock
from tests.mirror.store_lives import URL, Life, UnsyncedFiles, end, live
from tests.support.memory_objects import MemoryBucket, MemoryObjects
from tests.support.polling import until


def claim_through_session(bucket, directory, hook=None):
    """Take the run as a training does; release everything at once."""
    layout, files, clock = RunLayout(directory), UnsyncedFiles(), FakeClock()
    session = MirrorSession(Mirror(URL), layout, files, clock, MemoryObjects(bucket, hook))
    least = session.look()
    files.make_dir(layout.checkpoints)
    lock = RunLock(files, layout, clock, at_least=least)
    try:
        with ExitStack() as resources:
            session.claim(lock.number, resources)
    finally:
        lock.release()


def test_who_loses_a_start_does_not_release_the_run_of_the_winner(new_directory):
    bucket, raced = MemoryBucket(), []
    assert live(Life(MemoryObjects(bucket), new_directory(), 1)) is None
    winner = Life(MemoryObjects(bucket), new_directory())

    def race(number: int, what: str, after: bool) -> None:
        if what == "create claims/000002.json" and not after and not raced:
            raced.append(what)
            winner.open()

    with pytest.raises(RunLockedError):
        claim_through_session(bucket, new_directory(), race)
    assert bucket.objects[alive_key(2)] == b"1"
    winner.step()
    winner.close()


def test_signs_of_life_come_while_a_checkpoint_is_fetched(new_directory):
    bucket, beats = MemoryBucket(), []
    assert live(Life(MemoryObjects(bucket), new_directory())) is None

    def watch(number: int, what: str, after: bool) -> None:
        if what.startswith("read data/") and not beats:
            beats.append(bucket.objects[alive_key(2)])
            until(lambda: bucket.objects[alive_key(2)] != beats[0])

    layout, files, clock = RunLayout(new_directory()), UnsyncedFiles(), FakeClock()
    mirror = Mirror(URL, takeover_secs=1)
    session = MirrorSession(mirror, layout, files, clock, MemoryObjects(bucket, watch))
    session.look()
    files.make_dir(layout.checkpoints)
    lock = RunLock(files, layout, clock, at_least=2)
    with ExitStack() as resources:
        resources.callback(lock.release)
        session.claim(lock.number, resources)
    assert beats
    assert bucket.objects[alive_key(2)] == b"released"


def test_a_failed_sign_of_life_does_not_end_the_next(monkeypatch):
    objects = MemoryObjects(MemoryBucket())
    holder = StoreClaimHolder(objects, 1, FakeClock(), 1.0)
    holder.take(0)
    failed = []

    def put(key, data):
        if len(failed) < 2:
            failed.append(key)
            raise (RuntimeError if len(failed) == 1 else StorageError)("no answer")
        objects.bucket.objects[key] = data

    monkeypatch.setattr(objects, "put", put)
    holder.keep_alive()
    until(lambda: objects.bucket.objects[alive_key(1)] != b"1")
    holder.release()
    assert len(failed) == 2
    assert objects.bucket.objects[alive_key(1)] == b"released"


def test_an_outage_is_not_the_silence_of_the_owner(new_directory):
    """The store answers after 58 s of repetitions, and the owner's signs wait as long."""
    bucket, clock, looks = MemoryBucket(), FakeClock(), []
    owner = Life(MemoryObjects(bucket), new_directory())
    owner.open()

    def slow(number: int, what: str, after: bool) -> None:
        if what.endswith(".alive") and not after:
            looks.append(what)
            if len(looks) == 6:
                clock.sleep(58)
            if len(looks) == 15:
                owner.mirror.holder.beat()

    with pytest.raises(RunLockedError, match="is being trained"):
        wait_until_free(MemoryObjects(bucket, slow), 1, clock)
    end(owner)


def test_settings_of_the_user_go_before_the_timeout():
    assert _with_timeout({"region": "x"}) == {"timeout": "300 seconds", "region": "x"}
    options = {"client_options": {"allow_http": True}}
    assert _with_timeout(options) == {
        "client_options": {"timeout": "300 seconds", "allow_http": True}
    }
    assert _with_timeout({"timeout": "5 seconds"}) == {"timeout": "5 seconds"}


def test_the_store_has_a_policy_of_its_own(new_directory):
    """Through the session, as `Mirror(keep=...)` gives it."""
    layout, files, clock = RunLayout(new_directory()), UnsyncedFiles(), FakeClock()
    settings = Mirror(URL, keep=KeepLatest(1))
    session = MirrorSession(settings, layout, files, clock, MemoryObjects(MemoryBucket()))
    session.look()
    files.make_dir(layout.checkpoints)
    lock = RunLock(files, layout, clock, at_least=1)
    with ExitStack() as resources:
        resources.callback(lock.release)
        session.claim(lock.number, resources)
        session.start(Journal(files, layout, 1, clock), KeepLatest(3), resources)
        assert session._uploader._policy == KeepLatest(1)


def test_a_policy_of_the_store_needs_a_direction_too(tmp_path):
    options = make_options(tmp_path / "run", {}, mirror=Mirror(URL, keep=KeepBest("reward")))
    with pytest.raises(ConfigError, match="reward"):
        with_directions(options)
