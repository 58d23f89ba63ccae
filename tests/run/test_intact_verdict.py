"""A verdict about a checkpoint holds for exactly the files that were read."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import RunLayout
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.intact_verdict import VERDICT_VERSION, verified
from ckptkit.run.launcher_channel import Channel
from tests.support.stored_run import files, layout, save  # noqa: F401


@pytest.fixture
def checkpoint(save, layout):  # noqa: F811
    save(content=b"0123456789")
    return list_checkpoints(layout)[-1]


def read_in_full(checkpoint):
    return verified(checkpoint, lambda _: None)


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
        lambda path: path.with_name("further").touch(),
        lambda path: path.chmod(0o600),
        lambda path: os.link(path, path.parents[1] / "shared"),
        lambda path: path.with_name("manifest.json").write_bytes(b"{}"),
        lambda path: path.parent.rename(path.parents[1] / "elsewhere"),
    ],
    ids=["content", "replaced", "gone", "size", "further", "mode", "linked", "manifest", "moved"],
)
def test_whatever_changes_makes_it_worthless(checkpoint, change):
    verdict = read_in_full(checkpoint)
    assert verdict.holds_for(checkpoint)
    change(checkpoint.prefix.with_suffix(".index"))
    assert not verdict.holds_for(checkpoint)


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
    assert not verdict.holds_for(list_checkpoints(layout)[-1])
    assert not replace(verdict, files=()).holds_for(checkpoint)


def test_it_holds_under_another_name_of_the_run(checkpoint, layout, tmp_path):  # noqa: F811
    verdict = read_in_full(checkpoint)
    (tmp_path / "link").symlink_to(layout.root)
    (other,) = list_checkpoints(RunLayout(tmp_path / "link"))
    assert other.path != checkpoint.path
    assert verdict.holds_for(other)


def test_what_the_training_reads_on_the_channel(checkpoint, tmp_path):
    channel = Channel(tmp_path)
    assert channel.read_verdict() is None
    verdict = read_in_full(checkpoint)
    channel.give_verdict(verdict)
    assert channel.read_verdict() == verdict
    assert channel.read_verdict().holds_for(checkpoint)
    channel.give_verdict(replace(verdict, version=VERDICT_VERSION + 1))
    assert channel.read_verdict() is None
    channel.verdict.write_bytes(b"{")
    assert channel.read_verdict() is None
