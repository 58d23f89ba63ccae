"""The files of an anchor that checkpoints share count once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckptkit.clock import SystemClock
from ckptkit.layout import CheckpointName
from ckptkit.policies import Candidate
from ckptkit.policies.keep_policies import KeepLatest
from ckptkit.run.checkpoint_catalog import Checkpoint
from ckptkit.run.checkpoint_sizes import own_bytes
from ckptkit.run.data_anchor_entry import AnchorEntry, anchor_file
from ckptkit.run.events import SpaceShort
from ckptkit.run.journal_reader import read_journal
from ckptkit.run.manifest import FileEntry, ManifestHead
from ckptkit.run.save_target import SaveContext
from ckptkit.run.space_reclaim import expected_bytes, make_room
from ckptkit.run.verification_cache import CheckpointIndex
from ckptkit.storage.files import FileSystem
from tests.support.stored_run import manifest, start_attempt


def head(step: int, *anchors: tuple[int, int]) -> ManifestHead:
    """A checkpoint of 10 bytes, with an anchor of 103 bytes for each step and attempt."""
    files = [FileEntry(name=f"ckpt-{step}.index", size_bytes=10, digest=f"own {step}")]
    for taken, attempt in anchors:
        name = f"data-{taken}-{attempt}-0"
        files += [
            FileEntry(name=f"{name}.index", size_bytes=3, digest=name),
            FileEntry(name=f"{name}.data-00000-of-00001", size_bytes=100, digest=f"{name} data"),
        ]
    return replace(manifest(step), files=tuple(files))


def test_sizes():
    alone, took, shares = head(1), head(2, (2, 1)), head(3, (2, 1))
    other = head(4, (4, 1))
    assert [own_bytes(each) for each in (alone, took, shares, other)] == [10, 113, 10, 113]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data-30-2-0.index", "30-2"),
        ("data-30-2-11.data-00000-of-00001", "30-2"),
        ("ckpt-30.data-00000-of-00001", None),
        ("data-30-2.index", None),
        ("data-30-2-0.index.tmp", None),
    ],
)
def test_names_of_anchors(name, expected):
    assert anchor_file(name) == expected
    if expected:
        entry = AnchorEntry(name=name.partition(".")[0], key="k", parts=(), batches=1, since=0)
        assert entry.owns(name)


class Full(FileSystem):
    """A disk with little space."""

    def free_bytes(self, path):
        return 40


def commit_with_anchor(save, layout, step, anchor, content=b"x" * 5000):
    """A checkpoint with an anchor among its files."""
    from ckptkit.run.commit import begin_writing, commit

    files = FileSystem()
    directory = begin_writing(files, layout, 1)
    (directory / f"ckpt-{step}.index").write_bytes(b"tensors")
    (directory / f"{anchor}.index").write_bytes(content)
    commit(files, layout, manifest(step, 1))


def test_room_for_a_save_that_shares_an_anchor(save, layout):
    """It needs room for its own files; with a new anchor, for one as large as the last."""
    files, journal = Full(), None
    commit_with_anchor(save, layout, 20, "data-20-1-0")
    own = expected_bytes(CheckpointIndex(layout), 1)
    path = layout.checkpoint(CheckpointName(20, 1))
    assert own == sum(
        file.stat().st_size for file in path.iterdir() if not file.name.startswith("data-")
    )
    journal = start_attempt(FileSystem(), layout, SystemClock())
    index = CheckpointIndex(layout)
    index.add(Checkpoint(CheckpointName(20, 1), path).manifest)
    assert expected_bytes(index, 1) == own  # also if its files are known already
    target = SaveContext(files, index, journal, KeepLatest(2))
    for new in (0, 1):
        make_room(target, Candidate(name="ckpt-30-1", step=30), 1, new_anchors=new)
    short = [each for each in read_journal(layout).events if isinstance(each, SpaceShort)]
    assert [each.needed_bytes for each in short] == [own, own + 5000]
