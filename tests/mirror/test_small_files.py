"""The seed, the journals and other small files of a mirrored run."""

from __future__ import annotations

from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout
from ckptkit.mirror.small_files import stored_seed
from ckptkit.run.seed_file import keep_seed, read_seed
from tests.mirror.store_lives import Life, UnsyncedFiles, live
from tests.support.memory_objects import MemoryBucket, MemoryObjects

JOURNAL = "files/journal/attempt-000001.jsonl"


def with_seed(directory, seed):
    keep_seed(UnsyncedFiles(), RunLayout(directory), lambda: seed)
    return directory


def test_a_machine_with_another_seed_is_refused(new_directory):
    bucket = MemoryBucket()
    assert live(Life(MemoryObjects(bucket), with_seed(new_directory(), 11))) is None
    before = dict(bucket.objects)
    error = live(Life(MemoryObjects(bucket), with_seed(new_directory(), 12)))
    assert isinstance(error, ConfigError)
    assert "has the seed 11" in str(error)
    assert "ckptkit.seeded(directory, mirror=url)" in str(error)
    assert bucket.objects == before


def test_a_machine_with_the_same_seed_or_none_continues(new_directory):
    bucket = MemoryBucket()
    assert live(Life(MemoryObjects(bucket), with_seed(new_directory(), 11))) is None
    assert stored_seed(MemoryObjects(bucket)) == 11
    assert live(Life(MemoryObjects(bucket), with_seed(new_directory(), 11))) is None
    directory = new_directory()
    assert live(Life(MemoryObjects(bucket), directory)) is None
    assert read_seed(RunLayout(directory)) == 11


def test_the_seed_is_on_the_store_before_the_first_checkpoint(new_directory):
    objects = MemoryObjects(MemoryBucket())
    assert live(Life(objects, with_seed(new_directory(), 11))) is None
    order = [request for request in objects.requests if request.startswith("create ")]
    seed = order.index("create files/seed/seed.json")
    assert seed < order.index("create checkpoints/ckpt-1-1.1.json")


def test_a_seed_is_never_replaced(new_directory):
    """A stopped process wakes up, and has another one."""
    bucket = MemoryBucket()
    sleeper = Life(MemoryObjects(bucket), new_directory())
    sleeper.open()
    bucket.objects["files/seed/seed.json"] = b"of the next owner"
    with_seed(sleeper.directory, 12)
    sleeper.mirror.small_files.upload()
    assert bucket.objects["files/seed/seed.json"] == b"of the next owner"


def test_a_part_of_a_journal_does_not_replace_the_journal(new_directory):
    """Or one of another attempt with the same number, which is longer."""
    bucket = MemoryBucket()
    assert live(Life(MemoryObjects(bucket), new_directory())) is None
    whole = bucket.objects[JOURNAL]
    for damaged in (b"", whole[:10], b"x" * (len(whole) + 10)):
        directory = new_directory()
        (directory / "journal").mkdir(parents=True)
        (directory / "journal" / "attempt-000001.jsonl").write_bytes(damaged)
        assert live(Life(MemoryObjects(bucket), directory, steps=1)) is None
        assert bucket.objects[JOURNAL] == whole


def test_the_lines_after_the_last_upload_follow_at_the_next_start(new_directory):
    bucket, directory = MemoryBucket(), new_directory()
    assert live(Life(MemoryObjects(bucket), directory)) is None
    path = directory / "journal" / "attempt-000001.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event": "later"}\n')
    assert live(Life(MemoryObjects(bucket), directory, steps=1)) is None
    assert bucket.objects[JOURNAL] == path.read_bytes()


def test_a_file_is_fetched_whole_or_not_at_all(new_directory):
    bucket = MemoryBucket()
    assert live(Life(MemoryObjects(bucket), new_directory())) is None
    directory = new_directory()
    life = Life(MemoryObjects(bucket), directory, steps=0)
    found = []

    class Watching(UnsyncedFiles):
        def replace_content(self, path, data):
            found.append(path.name)
            super().replace_content(path, data)

    life.open()
    (directory / "journal" / "attempt-000001.jsonl").unlink()
    life.mirror.small_files._files = Watching()
    life.mirror.small_files.fetch()
    assert found == ["attempt-000001.jsonl"]
