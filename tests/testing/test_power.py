"""The model of a loss of power, against what POSIX says of a few operations."""

from __future__ import annotations

import itertools
import random

import pytest

from ckptkit.testing import FaultyFiles, PowerLoss, all_lost, nothing_lost, write_tree


class Machine:
    """A directory, the steps that are done in it, and what may be left."""

    def __init__(self, root):
        self.root = root
        (root / "old").write_bytes(b"old")
        (root / "d").mkdir()
        self.disk, self.files = PowerLoss(root), FaultyFiles()

    def outcomes(self):
        """What may be left of the operations so far, by a thousand random outcomes."""
        self.disk.follow(self.files.steps)
        self.files.steps.clear()
        deciders = itertools.chain(
            [all_lost, nothing_lost], (random.Random(seed).randrange for seed in range(1000))
        )
        return {tuple(sorted(self.disk.left(decide).items())) for decide in deciders}


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def trees(*changes):
    """Outcomes as differences from the beginning; a name with the content `GONE` is missing."""
    return {
        tuple(
            sorted(
                (name, content)
                for name, content in ({"old": b"old", "d": None} | change).items()
                if content is not GONE
            )
        )
        for change in changes
    }


GONE = object()


def test_without_a_step_nothing_is_lost(machine):
    assert machine.outcomes() == trees({})


def test_a_synced_file_in_a_directory_that_is_not(machine):
    machine.files.create(machine.root / "new", b"new")
    assert machine.outcomes() == trees({}, {"new": b"new"})
    machine.files.sync_dir(machine.root)
    assert machine.outcomes() == trees({"new": b"new"})


def test_unsynced_data_may_be_missing_in_part_or_be_zeros(machine):
    (machine.root / "old").write_bytes(b"old")
    machine.files.fail(when=lambda step: step.kind == "SyncFile")
    machine.files.fail(when=lambda step: step.kind == "Truncate")
    with pytest.raises(OSError, match="append"):
        machine.files.append(machine.root / "old", b"1234")
    assert machine.outcomes() == trees(
        {}, {"old": b"old12"}, {"old": b"old12\0\0"}, {"old": b"old\0\0\0\0"}, {"old": b"old1234"}
    )
    machine.files.sync_file(machine.root / "old")
    assert machine.outcomes() == trees({"old": b"old1234"})


def test_a_rename_has_happened_or_not(machine):
    machine.files.rename(machine.root / "old", machine.root / "d" / "moved")
    moved = {"old": GONE, "d": GONE, "d/moved": b"old"}
    assert machine.outcomes() == trees({}, moved)
    machine.files.sync_dir(machine.root / "d")
    assert machine.outcomes() == trees({}, moved), (
        "also the directory that it left has to be synced"
    )
    machine.files.sync_dir(machine.root)
    assert machine.outcomes() == trees(moved)


def test_replacing_a_file_leaves_the_old_or_the_new(machine):
    machine.files.replace_content(machine.root / "old", b"new")
    assert {dict(tree)["old"] for tree in machine.outcomes()} == {b"old", b"new"}


def test_a_removal_may_outlive_the_rename_before_it(machine):
    """What makes a sync between the two necessary."""
    machine.files.create(machine.root / "d" / "file", b"x")
    machine.files.sync_dir(machine.root / "d")
    machine.files.rename(machine.root / "d", machine.root / "hidden")
    machine.files.remove_file(machine.root / "hidden" / "file")
    whole, hidden = {"d": GONE, "d/file": b"x"}, {"d": GONE, "hidden/file": b"x"}
    assert machine.outcomes() == trees(whole, hidden, {}, {"d": GONE, "hidden": None})


def test_a_directory_without_a_name_takes_its_files_along(machine):
    machine.files.fail(when=lambda step: str(step) == "SyncDir " + machine.root.name)
    with pytest.raises(OSError, match="make"):
        machine.files.make_dir(machine.root / "new")
    machine.files.create(machine.root / "new" / "file", b"x")
    machine.files.sync_dir(machine.root / "new")
    assert machine.outcomes() == trees({}, {"new/file": b"x"})


def test_a_chain_of_renames_leaves_one_name(machine):
    machine.files.rename(machine.root / "old", machine.root / "b")
    machine.files.rename(machine.root / "b", machine.root / "c")
    assert machine.outcomes() == trees({}, {"old": GONE, "b": b"old"}, {"old": GONE, "c": b"old"})
    machine.files.rename(machine.root / "c", machine.root / "d" / "e")
    machine.files.sync_dir(machine.root)
    assert machine.outcomes() == trees(
        {"old": GONE, "c": b"old"}, {"old": GONE, "d": GONE, "d/e": b"old"}
    )


def test_steps_elsewhere_do_not_count(machine, tmp_path_factory):
    machine.files.create(tmp_path_factory.mktemp("elsewhere") / "file", b"x")
    assert machine.outcomes() == trees({})


def test_a_step_that_cannot_be_followed(machine):
    (machine.root / "unknown").mkdir()
    machine.files.create(machine.root / "unknown" / "file", b"x")
    with pytest.raises(ValueError, match="something else also write"):
        machine.disk.follow(machine.files.steps)


def test_what_is_left_can_be_made(tmp_path):
    write_tree({"a/b": b"x", "c": None}, tmp_path / "after")
    assert PowerLoss(tmp_path / "after").left(nothing_lost) == {"a/b": b"x", "c": None}
