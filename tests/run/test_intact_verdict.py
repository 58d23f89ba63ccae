"""A verdict about a checkpoint holds for the files that were read and are the same."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace

import pytest

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import RunLayout
from ckptkit.restore.verification import verify_before_restore
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.checkpoint_removal import clean_up
from ckptkit.run.commit import begin_writing
from ckptkit.run.intact_verdict import MOST_AGE_SECS, VERDICT_VERSION, _file_now, verified
from ckptkit.run.launcher_channel import Channel
from tests.support.stored_run import files, layout, save  # noqa: F401


@pytest.fixture
def checkpoint(save, layout):  # noqa: F811
    save(content=b"0123456789")
    return list_checkpoints(layout)[-1]


def read_in_full(checkpoint):
    return verified(checkpoint, lambda _: None)


def unknown(verdict, checkpoint, **options):
    entries = checkpoint.manifest.files
    return [entry.name for entry in verdict.unknown(checkpoint, entries, **options)]


def rewrite(path):
    """The same size and the same times as before, as far as a program can set them."""
    before = path.stat()
    path.write_bytes(b"012345678x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_file(path):
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        rewrite,
        replace_file,
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"0"),
        lambda path: path.chmod(0o600),
        lambda path: path.parent.rename(path.parents[1] / "elsewhere"),
    ],
    ids=["content", "replaced", "gone", "size", "mode", "moved"],
)
def test_a_file_that_has_changed_is_verified(checkpoint, change):
    verdict = read_in_full(checkpoint)
    assert unknown(verdict, checkpoint) == []
    change(checkpoint.prefix.with_suffix(".index"))
    assert unknown(verdict, checkpoint) == ["ckpt-100.index"]


def test_each_file_counts_for_itself(checkpoint):
    verdict = read_in_full(checkpoint)
    (entry,) = checkpoint.manifest.files
    others = [replace(entry, name="other"), entry, replace(entry, digest="xxh3_128:0")]
    assert verdict.unknown(checkpoint, others) == (others[0], others[2])


def test_leftovers_that_share_a_file_are_no_reason_to_read_it(checkpoint, layout, files):  # noqa: F811
    """A save that was killed has linked files of the newest checkpoint, and recovery removes the
    links, which changes the times of the inodes.
    """
    index = checkpoint.prefix.with_suffix(".index")
    os.link(index, begin_writing(files, layout, 1) / "ckpt-200.index")
    verdict = read_in_full(checkpoint)
    assert clean_up(files, layout)
    assert unknown(verdict, checkpoint) == []
    rewrite(index)
    os.link(index, layout.root / "another")
    index.touch()
    assert unknown(verdict, checkpoint) == ["ckpt-100.index"]


def test_it_does_not_count_for_long(checkpoint):
    verdict = read_in_full(checkpoint)
    for age, expected in (
        (-1.0, ["ckpt-100.index"]),
        (MOST_AGE_SECS - 1.0, []),
        (MOST_AGE_SECS + 1.0, ["ckpt-100.index"]),
    ):
        assert unknown(verdict, checkpoint, now=lambda age=age: verdict.verified_at + age) == (
            expected
        )


@pytest.mark.parametrize("depth", ["full", "auto", "quick"])
def test_a_program_that_wants_every_byte_read_reads_it(checkpoint, depth):
    verdict = read_in_full(checkpoint)
    index = checkpoint.prefix.with_suffix(".index")
    rewrite(index)
    (now,) = [_file_now(checkpoint.path, each) for each in checkpoint.manifest.files]
    wrong = replace(verdict, files=(now,))
    with pytest.raises(CorruptCheckpointError) if depth == "full" else nullcontext():
        verify_before_restore(checkpoint, depth, wrong)


def test_a_damaged_checkpoint_gets_none(checkpoint):
    rewrite(checkpoint.prefix.with_suffix(".index"))
    with pytest.raises(CorruptCheckpointError):
        read_in_full(checkpoint)


def test_what_changes_while_it_is_read_gets_none(checkpoint):
    index = checkpoint.prefix.with_suffix(".index")
    assert verified(checkpoint, lambda _: index.touch()) is None


def test_another_checkpoint_is_another_matter(checkpoint, save, layout):  # noqa: F811
    verdict = read_in_full(checkpoint)
    save(step=200, content=b"0123456789")
    assert unknown(verdict, list_checkpoints(layout)[-1]) == ["ckpt-200.index"]
    assert unknown(replace(verdict, files=()), checkpoint) == ["ckpt-100.index"]


def test_it_holds_under_another_name_of_the_run(checkpoint, layout, tmp_path):  # noqa: F811
    verdict = read_in_full(checkpoint)
    (tmp_path / "link").symlink_to(layout.root)
    (other,) = list_checkpoints(RunLayout(tmp_path / "link"))
    assert other.path != checkpoint.path
    assert unknown(verdict, other) == []


def test_what_the_training_reads_on_the_channel(checkpoint, tmp_path):
    channel = Channel(tmp_path)
    assert channel.read_verdict() is None
    verdict = read_in_full(checkpoint)
    channel.give_verdict(verdict)
    assert channel.read_verdict() == verdict
    assert unknown(channel.read_verdict(), checkpoint) == []
    channel.give_verdict(replace(verdict, version=VERDICT_VERSION + 1))
    assert channel.read_verdict() is None
    channel.verdict.write_bytes(b"{")
    assert channel.read_verdict() is None
