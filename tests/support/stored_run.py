"""A run that is written by the store alone; no TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckptkit.clock import Clock
from ckptkit.layout import RunLayout
from ckptkit.run.commit import begin_writing, commit
from ckptkit.run.journal import Journal, next_attempt, start_journal
from ckptkit.run.manifest import Manifest, StateEntry
from ckptkit.run.tensor_entry import TensorEntry
from ckptkit.storage.files import FileSystem


def manifest(step: int = 100, attempt: int = 1, **fields: Any) -> Manifest:
    """A manifest before its commit."""
    known: dict[str, Any] = {
        "epoch": 1,
        "batch": 2,
        "saved_at": 1.5e9,
        "trigger": "every 100 steps",
        "states": (
            StateEntry(name="model", class_name="Functional", classes={"optimizer": "Adam"}),
        ),
        "tensors": (
            TensorEntry(
                key="model/weights/0",
                kind="variable",
                path="dense/kernel",
                shape=(2, None),
                dtype="float32",
                trainable=True,
            ),
            TensorEntry(
                key="model/state/0/arrays/1", kind="python", path="x", shape=None, dtype="int64"
            ),
        ),
    }
    return Manifest(step=step, attempt=attempt, **(known | fields))


def start_attempt(files: FileSystem, layout: RunLayout, clock: Clock) -> Journal:
    """The journal of the next attempt, without the lock that a process would hold."""
    return start_journal(files, layout, clock, next_attempt(layout))


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return RunLayout(tmp_path / "run")


@pytest.fixture
def files() -> FileSystem:
    return FileSystem()


@pytest.fixture
def save(layout: RunLayout, files: FileSystem) -> Any:
    """`save(step, attempt, content)` commits a checkpoint with one data file, and returns its
    directory.
    """
    files.make_dir(layout.pins)  # as an owner does

    def save(step: int = 100, attempt: int = 1, content: bytes = b"tensors", **fields: Any) -> Path:
        (begin_writing(files, layout, attempt) / f"ckpt-{step}.index").write_bytes(content)
        return layout.checkpoint(commit(files, layout, manifest(step, attempt, **fields)).name)

    return save
