"""Storing what a model is made of: whole or not at all, whatever refuses or is lost, and durable
before a checkpoint may name it.
"""

from __future__ import annotations

import errno
import itertools
import random

import pytest

from ckptkit.errors import CorruptCheckpointError, StorageError
from ckptkit.layout import RunLayout
from ckptkit.run.architecture_file import (
    Architecture,
    encode,
    file_name,
    load,
    store,
)
from ckptkit.run.run_recovery import clean_architectures
from ckptkit.testing import FaultyFiles, PowerLoss, all_lost, nothing_lost


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "run").mkdir()
    return RunLayout(tmp_path / "run")


ARCHITECTURE = Architecture(
    class_name="Sequential", config={"layers": [1, 2, {"units": 3}]}, versions={"keras": "3.15.1"}
)
CONTENT = encode(ARCHITECTURE)


def steps_of(layout):
    files = FaultyFiles()
    store(files, layout, CONTENT)
    return files.steps


def test_what_was_stored_comes_back_and_equal_ones_are_one_file(layout):
    files = FaultyFiles()
    name = store(files, layout, CONTENT)
    assert load(layout, name) == ARCHITECTURE
    files.steps.clear()
    assert store(files, layout, CONTENT) == name
    assert files.steps == []
    assert [path.name for path in layout.architecture.iterdir()] == [name]


def test_a_damaged_one_is_stored_again(layout):
    name = store(FaultyFiles(), layout, CONTENT)
    (layout.architecture / name).write_bytes(CONTENT[:-3])
    with pytest.raises(CorruptCheckpointError, match="digest differs"):
        load(layout, name)
    assert load(layout, store(FaultyFiles(), layout, CONTENT)) == ARCHITECTURE


def test_refused_at_every_step_and_tried_again(layout):
    reached = 0
    for number in itertools.count(1):
        files = FaultyFiles()
        files.fail(errno.ENOSPC, at=number)
        try:
            store(files, layout, CONTENT)
        except StorageError:
            reached += 1
        else:
            break
        assert load(layout, store(FaultyFiles(), layout, CONTENT)) == ARCHITECTURE
        clean_architectures(FaultyFiles(), layout)
        (path,) = layout.architecture.iterdir()
        path.unlink()
        layout.architecture.rmdir()
    assert reached >= 5


def test_power_lost_after_every_step_leaves_it_whole_or_not_there(layout, tmp_path):
    disk, files = PowerLoss(tmp_path), FaultyFiles()
    store(files, layout, CONTENT)
    path = f"run/architecture/{file_name(CONTENT)}"
    absent = 0
    for number, step in enumerate(files.steps, start=1):
        disk.follow([step])
        for decide in (
            all_lost,
            nothing_lost,
            *(random.Random(seed).randrange for seed in range(200)),
        ):
            left = disk.left(decide)
            if path in left:
                assert left[path] == CONTENT
            else:
                absent += 1
                assert number < len(files.steps), "it may be named from here on"
    assert absent
