"""Machines that come back to a mirrored run: which of them may continue, and which are refused."""

from __future__ import annotations

import pytest

from ckptkit.errors import ConfigError, CorruptCheckpointError
from ckptkit.layout import RunLayout
from ckptkit.mirror.stored_commits import list_visible
from ckptkit.ownership.run_lock import RunLock
from ckptkit.policies import KeepEveryNSteps, KeepLatest
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.journal import next_attempt, start_journal
from ckptkit.testing import FakeClock
from tests.mirror.store_lives import Life, UnsyncedFiles, end, live, newest_step, seen_by_readers
from tests.support.memory_objects import MemoryBucket, MemoryObjects


def life(bucket, directory, steps=2, **more):
    return Life(MemoryObjects(bucket), directory, steps, **more)


def test_a_checkpoint_that_was_resumed_from_is_not_another_life(new_directory):
    """The other machine had only opened the run. The checkpoint itself is never on the store."""
    bucket, directory = MemoryBucket(), new_directory()
    policy = KeepLatest(1) | KeepEveryNSteps(2)
    first = life(bucket, directory, policy=policy)
    first.open()
    first.step()
    first.save(2)
    end(first)
    assert live(life(bucket, new_directory(), 0, policy=policy)) is None
    for at in (3, 4):
        again = life(bucket, directory, 1, policy=policy)
        assert live(again) is None
        assert again.at == at
        assert newest_step(bucket) == at


def test_it_is_another_life_if_a_later_machine_went_on_without_it(new_directory):
    bucket, directory = MemoryBucket(), new_directory()
    first = life(bucket, directory)
    first.open()
    first.step()
    first.save(2)
    end(first)
    assert live(life(bucket, new_directory(), 0)) is None
    again = life(bucket, directory)
    again.open()  # from step 2, and it saves nothing
    end(again)
    assert live(life(bucket, new_directory(), 1)) is None
    error = live(life(bucket, directory))
    assert isinstance(error, ConfigError)
    assert "two lives" in str(error)


def test_an_older_checkpoint_that_was_never_uploaded_is_not_another_life(new_directory):
    bucket, directory = MemoryBucket(), new_directory()
    first = life(bucket, directory)
    first.open()
    first.uploader._policy = KeepLatest(1)  # as Mirror(keep=...)
    for _ in range(3):
        first.step()
    end(first)
    assert len(list_checkpoints(RunLayout(directory))) > len(list_visible(MemoryObjects(bucket)))
    assert live(life(bucket, new_directory(), 1, policy=KeepLatest(1))) is None
    assert live(life(bucket, directory, 1)) is None
    assert newest_step(bucket) == 5


def test_a_save_that_was_repeated_at_its_step_is_not_another_life(new_directory):
    """As at the end of every `fit`."""
    bucket, directory = MemoryBucket(), new_directory()
    first = life(bucket, directory)
    first.open()
    first.step()
    first.step()
    first.save(2, saved_at=2e9, final=True)
    first.uploader.work()
    first.close()
    assert live(life(bucket, new_directory(), 3)) is None
    assert live(life(bucket, directory, 1)) is None
    assert newest_step(bucket) == 6


@pytest.mark.parametrize("others", [0, 1])
def test_a_repeated_save_that_was_not_uploaded_leaves_the_store_whole(new_directory, others):
    """It replaces the first save only if readers of the store will see it."""
    bucket, directory = MemoryBucket(), new_directory()
    first = life(bucket, directory)
    first.open()
    first.step()
    first.save(1, saved_at=2e9, final=True)
    end(first)
    for _ in range(others):
        assert live(life(bucket, new_directory(), 0)) is None
    again = life(bucket, directory, 0)
    again.open()
    again.uploader.work()
    again.close()
    assert list(seen_by_readers(bucket)) == ["ckpt-1-1"]
    assert newest_step(bucket) == 1
    assert [str(each) for each in list_visible(MemoryObjects(bucket))] == [
        "ckpt-1-1.1" if others else "ckpt-1-1.2"
    ]


def train_without_mirror(bucket, directory, steps):
    made = life(bucket, directory)
    made.layout, made.files = RunLayout(directory), UnsyncedFiles()
    clock = FakeClock()
    made.lock = RunLock(made.files, made.layout, clock, at_least=next_attempt(made.layout))
    made.journal = start_journal(made.files, made.layout, clock, made.lock.number)
    for step in steps:
        made.save(step, saved_at=2e9)
    made.lock.release()


def test_a_training_without_mirror_beside_another_machine_is_refused(new_directory):
    """Both have an attempt 2, whose checkpoints have the same names."""
    bucket, directory = MemoryBucket(), new_directory()
    assert live(life(bucket, directory)) is None
    train_without_mirror(bucket, directory, [3, 4])
    assert live(life(bucket, new_directory(), 3, shared=b"weights of its own")) is None
    before = dict(bucket.objects)
    error = live(life(bucket, directory))
    assert isinstance(error, ConfigError)
    assert "without mirror=" in str(error)
    assert "ckpt-3-2, ckpt-4-2" in str(error)
    assert bucket.objects == before


def test_a_training_without_mirror_is_uploaded_later_if_nobody_had_the_run(new_directory):
    bucket, directory = MemoryBucket(), new_directory()
    train_without_mirror(bucket, directory, [1])
    assert live(life(bucket, directory, 1)) is None
    train_without_mirror(bucket, directory, [3, 4])
    assert live(life(bucket, directory, 1)) is None
    assert newest_step(bucket) == 5


def test_files_are_not_shared_with_an_owner_that_may_wake_up(new_directory):
    """Also not by the owner after the next one, which has ended in order."""
    bucket = MemoryBucket()
    policy, woken = KeepLatest(10), []

    def sleep(number: int, what: str, after: bool) -> None:
        if what.startswith("delete checkpoints/ckpt-1-1") and not after and not woken:
            woken.append(what)
            assert live(life(bucket, new_directory(), 0, policy=policy)) is None
            third = life(bucket, new_directory(), 1, policy=policy, shared=b"the same")
            assert live(third) is None

    sleeper = Life(MemoryObjects(bucket, sleep), new_directory(), policy=KeepLatest(1))
    sleeper.open()
    sleeper.shared = b"the same"
    sleeper.step()
    sleeper.shared = b"something else"
    sleeper.step()
    end(sleeper)
    assert woken
    assert "ckpt-3-3" in seen_by_readers(bucket)


def test_who_lost_a_race_without_a_checkpoint_may_join(new_directory):
    bucket, loser, raced = MemoryBucket(), new_directory(), []

    def race(number: int, what: str, after: bool) -> None:
        if what == "create run.json" and not after and not raced:
            raced.append(what)
            assert live(life(bucket, new_directory(), 1)) is None

    error = live(Life(MemoryObjects(bucket, race), loser, 1))
    assert isinstance(error, ConfigError)
    assert live(life(bucket, loser, 1)) is None
    assert newest_step(bucket) == 2


def test_bytes_that_were_damaged_on_their_way_are_fetched_again(new_directory):
    bucket, damaged = MemoryBucket(), []
    assert live(life(bucket, new_directory())) is None

    class Damaging(MemoryObjects):
        def read_range(self, key, start, length):
            data = super().read_range(key, start, length)
            if damaged:
                return data
            damaged.append(key)
            return bytes([data[0] ^ 1]) + data[1:]

    fetching = Life(Damaging(bucket), new_directory(), 0)
    assert live(fetching) is None
    assert damaged
    assert fetching.at == 2
    assert not [key for key in bucket.objects if key.startswith("quarantine/")]


def test_each_fence_is_read_once_at_a_start(new_directory):
    bucket, directory = MemoryBucket(), new_directory()
    for _ in range(6):
        assert live(life(bucket, directory, 0)) is None
    objects = MemoryObjects(bucket)
    assert live(Life(objects, directory, 0)) is None
    read = [each for each in objects.requests if each.startswith("read fences/")]
    assert len(read) == len(set(read)) == 6


def test_a_lost_answer_to_the_first_request_is_no_reason_to_refuse_a_store(new_directory):
    """The client repeats the creation, and meets the object that it has made."""
    bucket, repeated = MemoryBucket(), []

    class Repeating(MemoryObjects):
        def create(self, key, data):
            if key.startswith("probe/") and not repeated:
                repeated.append(key)
                super().create(key, data)
            super().create(key, data)

    assert live(Life(Repeating(bucket), new_directory())) is None
    assert repeated


def test_a_commit_that_vanishes_after_it_was_listed_is_no_error(new_directory):
    """A stopped owner has finished a removal, just after the start has listed the commits."""
    bucket = MemoryBucket()
    assert live(life(bucket, new_directory(), 3)) is None

    def vanish(number: int, what: str, after: bool) -> None:
        if what == "read checkpoints/ckpt-2-1.1.json" and not after:
            bucket.objects.pop("checkpoints/ckpt-2-1.1.json", None)

    again = Life(MemoryObjects(bucket, vanish), new_directory(), 1)
    assert live(again) is None
    assert again.at == 4


def test_a_damaged_fence_is_an_error_with_a_remedy(new_directory):
    bucket = MemoryBucket()
    assert live(life(bucket, new_directory())) is None
    bucket.objects["fences/000001.json"] = b"{}"
    error = live(life(bucket, new_directory()))
    assert isinstance(error, CorruptCheckpointError)
    assert "name another prefix" in str(error)
