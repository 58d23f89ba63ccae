"""The protocol of a mirrored run: a kill, a lost answer or a sleeper at every request."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from ckptkit.errors import CheckpointError, ConfigError, CorruptCheckpointError, RunLockedError
from ckptkit.layout import CheckpointName, RunLayout
from ckptkit.mirror.store_claim import StoreClaimHolder
from ckptkit.mirror.store_layout import ASIDE, DATA, QUARANTINE, CommitName, alive_key
from ckptkit.mirror.stored_commits import list_visible
from ckptkit.policies import KeepEveryNSteps, KeepLatest
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.verify import verify
from ckptkit.testing import FakeClock
from tests.mirror.store_lives import (
    Life,
    check_nothing_is_left_over,
    content,
    end,
    live,
    newest_step,
    seen_by_readers,
)
from tests.support.memory_objects import KilledError, MemoryBucket, MemoryObjects, fault


def after_one_life(new_directory, steps: int = 2) -> MemoryBucket:
    bucket = MemoryBucket()
    life = Life(MemoryObjects(bucket), new_directory(), steps)
    assert live(life) is None
    return bucket


def resume(bucket: MemoryBucket, directory: Path, at_least: int) -> Life:
    """The next owner, on an empty disk: it has what was confirmed, whole, and cleans up."""
    life = Life(MemoryObjects(bucket), directory, steps=0)
    assert live(life) is None
    assert life.at >= at_least
    check_nothing_is_left_over(bucket)
    for checkpoint in list_checkpoints(life.layout):
        verify(checkpoint)
        index = checkpoint.path / f"ckpt-{checkpoint.step}.index"
        assert index.read_bytes() == content(checkpoint.step, checkpoint.attempt)
    return life


@pytest.mark.parametrize("earlier", [0, 3])
@pytest.mark.parametrize("kind", ["before", "after", "lost"])
def test_a_fault_at_every_request(new_directory, earlier, kind):
    """Of a start, saves, removals and an end; with an earlier life on the store, and without."""
    before = after_one_life(new_directory, earlier) if earlier else MemoryBucket()
    calm = MemoryObjects(copy.deepcopy(before))
    assert live(Life(calm, new_directory(), steps=3)) is None
    assert len(calm.requests) > 30
    met = 0
    for at in range(1, len(calm.requests) + 3):
        bucket = copy.deepcopy(before)
        objects = MemoryObjects(bucket, fault(at, kind))
        life = Life(objects, new_directory(), steps=3)
        error = live(life)
        met += len(objects.requests) >= at
        seen_by_readers(bucket)
        confirmed = max(life.confirmed, default=earlier)
        assert newest_step(bucket) >= confirmed, (at, calm.requests[at - 1 :][:1], error)
        if kind != "lost" and len(objects.requests) == at:
            assert isinstance(error, KilledError)
        resume(bucket, new_directory(), confirmed)
    assert met >= len(calm.requests)


@pytest.mark.parametrize("kind", ["before", "after"])
def test_the_same_machine_continues_after_a_kill_at_every_request(new_directory, kind):
    """Its directory may be newer than the store; nothing of it is lost, and all is sent."""
    calm = MemoryObjects(MemoryBucket())
    assert live(Life(calm, new_directory(), steps=3)) is None
    for at in range(1, len(calm.requests) + 1):
        bucket, directory = MemoryBucket(), new_directory()
        killed = Life(MemoryObjects(bucket, fault(at, kind)), directory, steps=3)
        assert isinstance(live(killed), KilledError)
        had = list_checkpoints(RunLayout(directory))
        second = Life(MemoryObjects(bucket), directory, steps=1)
        assert live(second) is None
        assert second.at == (had[-1].step if had else 0) + 1
        assert newest_step(bucket) == second.at
        resume(bucket, new_directory(), second.at)


def test_a_sleeper_changes_nothing(new_directory):
    """It is stopped at a request, another machine takes the run over, and it wakes up."""
    before = after_one_life(new_directory, steps=1)
    calm = MemoryObjects(copy.deepcopy(before))
    assert live(Life(calm, new_directory(), steps=3)) is None
    for at in range(1, len(calm.requests) + 1):
        bucket = copy.deepcopy(before)
        other = Life(MemoryObjects(bucket), new_directory(), steps=2)
        seen: dict[str, bytes] = {}

        def sleep(
            number: int, what: str, after: bool, at=at, other=other, bucket=bucket, seen=seen
        ) -> None:
            if number == at and not after:
                assert live(other) is None
                seen.update(seen_by_readers(bucket))

        sleeper = Life(MemoryObjects(bucket, sleep), new_directory(), steps=3)
        error = live(sleeper)
        if error is not None:
            request = sleeper.objects.requests[at - 1]
            assert isinstance(error, RunLockedError), (at, request, error)
            # What it takes for confirmed is what the other one has resumed from.
            assert max(sleeper.confirmed, default=1) <= other.at - 2, (at, request)
            now = seen_by_readers(bucket)
            if request.startswith("delete checkpoints/"):
                # The one deletion that was under way: of what both policies give up.
                gone = request.removeprefix("delete checkpoints/").partition(".")[0]
                assert gone not in list(seen)[-2:]
                seen.pop(gone, None)
            assert now == seen, (at, request)
        else:
            # It was stopped before it claimed the run, or after its last change.
            assert at < 7 or at >= len(calm.requests) - 4, (at, calm.requests[at - 1])
        resume(bucket, new_directory(), other.at if error else newest_step(bucket))


def test_two_starts_at_every_pair_of_requests(new_directory):
    """Of two machines that start, at most one has the run at any time."""
    for at in range(1, 30):
        bucket = MemoryBucket()
        other = Life(MemoryObjects(bucket), new_directory(), steps=0)

        def start(number: int, what: str, after: bool, at=at, other=other) -> None:
            if number == at and not after:
                other.open()
            elif what.endswith(".alive") and not after and hasattr(other, "uploader"):
                other.mirror.holder.beat()

        first = Life(MemoryObjects(bucket, start), new_directory(), steps=1)
        error = live(first)
        if hasattr(other, "uploader"):
            # If the first one has no error, it had confirmed its step before.
            assert isinstance(error, CheckpointError) or other.at == 1, at
            other.step()
            other.close()
            resume(bucket, new_directory(), 1)


def test_who_was_too_slow_does_not_release_the_claim_of_another():
    objects, clock = MemoryObjects(MemoryBucket()), FakeClock()
    first, second = (StoreClaimHolder(objects, 1, clock, 60.0) for _ in range(2))
    first.take(0)
    with pytest.raises(RunLockedError):
        second.take(0)
    second.release()
    assert objects.read(alive_key(1)) == b"1"
    first.release()
    assert objects.read(alive_key(1)) == b"released"


def test_an_unchanged_file_is_sent_once(new_directory):
    bucket = MemoryBucket()
    objects = MemoryObjects(bucket)
    life = Life(objects, new_directory(), steps=4)
    assert live(life) is None
    sent = [request for request in objects.requests if request.endswith("shared.data")]
    assert [request.split()[0] for request in sent] == ["put"]
    later = Life(MemoryObjects(bucket), new_directory(), steps=3)
    assert live(later) is None
    assert [key for key in bucket.objects if key.endswith("shared.data")] == [sent[0].split()[1]]
    resume(bucket, new_directory(), 7)


def test_a_second_save_at_a_step_replaces_the_first(new_directory):
    bucket = MemoryBucket()
    life = Life(MemoryObjects(bucket), new_directory(), steps=1)
    life.open()
    life.step()
    life.save(1, saved_at=2e9, final=True)
    life.uploader.work()
    assert list_visible(MemoryObjects(bucket)) == [CommitName(CheckpointName(1, 1), 2)]
    life.close()
    found = resume(bucket, new_directory(), 1)
    assert list_checkpoints(found.layout)[-1].manifest.final


def test_the_policy_of_the_run_holds_on_the_store_too(new_directory):
    """Also for checkpoints that the machine does not have: it has fetched the newest only."""
    bucket = MemoryBucket()
    policy = KeepLatest(1) | KeepEveryNSteps(3)
    for _ in range(2):
        life = Life(MemoryObjects(bucket), new_directory(), steps=4, policy=policy)
        assert live(life) is None
    assert [name.checkpoint.step for name in list_visible(MemoryObjects(bucket))] == [3, 6, 8]


def test_a_damaged_checkpoint_goes_to_quarantine_and_the_one_before_is_fetched(new_directory):
    for damage in ("flip", "cut", "delete", "commit"):
        bucket = after_one_life(new_directory, steps=3)
        newest = list_visible(MemoryObjects(bucket))[-1]
        key = next(key for key in bucket.objects if key.endswith("ckpt-3.index"))
        data = bucket.objects[key]
        if damage == "commit":
            commit = bucket.objects[newest.key()]
            bucket.objects[newest.key()] = commit.replace(b"every 100 steps", b"every 900 steps")
        elif damage == "delete":
            del bucket.objects[key]
        else:
            changed = bytes([data[0] ^ 1]) + data[1:] if damage == "flip" else data[:-1]
            bucket.objects[key] = changed
        life = Life(MemoryObjects(bucket), new_directory(), steps=0)
        assert live(life) is None
        assert life.at == 2, damage
        assert newest.key(QUARANTINE) in bucket.objects
        assert newest not in list_visible(MemoryObjects(bucket))


def test_only_damaged_checkpoints_are_an_error_and_no_fresh_start(new_directory):
    bucket = after_one_life(new_directory, steps=1)
    key = next(key for key in bucket.objects if key.endswith("ckpt-1.index"))
    bucket.objects[key] = b"x" * len(bucket.objects[key])
    error = live(Life(MemoryObjects(bucket), new_directory()))
    assert isinstance(error, CorruptCheckpointError)


def test_two_lives_of_a_run_are_an_error_that_shows_both(new_directory):
    """A machine comes back with its disk after another one has continued the run."""
    bucket, old = MemoryBucket(), new_directory()
    lost = Life(MemoryObjects(bucket), old)
    lost.open()
    lost.step()
    lost.save(2)  # never uploaded
    end(lost)
    assert live(Life(MemoryObjects(bucket), new_directory(), steps=3)) is None
    before = dict(bucket.objects)
    error = live(Life(MemoryObjects(bucket), old))
    assert isinstance(error, ConfigError)
    assert "ckpt-2-1" in str(error)
    assert "ckpt-4-2" in str(error)
    assert bucket.objects == before


def test_a_directory_that_is_behind_gets_what_is_newer(new_directory):
    bucket, old = MemoryBucket(), new_directory()
    assert live(Life(MemoryObjects(bucket), old, steps=2)) is None
    assert live(Life(MemoryObjects(bucket), new_directory(), steps=2)) is None
    back = Life(MemoryObjects(bucket), old, steps=1)
    assert live(back) is None
    assert back.at == 5


def test_what_the_directory_has_set_aside_is_set_aside_on_the_store(new_directory):
    """As `ckptkit rollback` does: it moves newer checkpoints to `aside/`."""
    bucket, directory = MemoryBucket(), new_directory()
    assert live(Life(MemoryObjects(bucket), directory, steps=2)) is None
    layout = RunLayout(directory)
    (layout.aside / "rolled-back-000002").mkdir(parents=True)
    newest = CheckpointName(2, 1)
    layout.checkpoint(newest).rename(layout.aside / "rolled-back-000002" / str(newest))
    again = Life(MemoryObjects(bucket), directory, steps=0)
    assert live(again) is None
    assert again.at == 1
    assert CommitName(newest).key(ASIDE) in bucket.objects
    elsewhere = Life(MemoryObjects(bucket), new_directory(), steps=0)
    assert live(elsewhere) is None
    assert elsewhere.at == 1
    assert [key for key in bucket.objects if key.startswith(DATA) and "ckpt-2" in key]


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({"photo.jpg": b"x"}, "other data, such as 'photo.jpg'"),
        ({"runs/y/run.json": b"x"}, "other data"),
        ({"checkpoints/ckpt-1-1.1.json": b"x"}, "no run.json"),
        ({"run.json": b"{}"}, "cannot read"),
    ],
)
def test_a_place_that_is_not_empty_is_refused(new_directory, objects, words):
    bucket, directory = MemoryBucket(dict(objects)), new_directory()
    error = live(Life(MemoryObjects(bucket), directory))
    assert isinstance(error, ConfigError)
    assert words in str(error)
    assert bucket.objects == objects
    assert not directory.exists()


def test_another_run_is_refused(new_directory):
    first, second = after_one_life(new_directory), MemoryBucket()
    directory = new_directory()
    assert live(Life(MemoryObjects(second), directory)) is None
    before = dict(first.objects)
    error = live(Life(MemoryObjects(first), directory))
    assert isinstance(error, ConfigError)
    assert "another run" in str(error)
    (directory / "mirror.json").unlink()
    error = live(Life(MemoryObjects(first), directory))
    assert isinstance(error, ConfigError)
    assert "never copied there" in str(error)
    assert first.objects == before


def test_a_store_that_ignores_the_condition_is_refused(new_directory):
    bucket, directory = MemoryBucket(conditional=False), new_directory()
    error = live(Life(MemoryObjects(bucket), directory))
    assert isinstance(error, ConfigError)
    assert "If-None-Match" in str(error)
    assert bucket.objects == {}
    assert not directory.exists()
