"""What the tests of surprises share."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from tests.support import checkers


@pytest.fixture(scope="session")
def lab() -> Any:
    """Trainings in this process; TensorFlow is imported here, and not when tests are collected."""
    return importlib.import_module("tests.keras.lab")


@pytest.fixture(autouse=True)
def _one_process_checks_all_exports(request: pytest.FixtureRequest) -> Iterator[None]:
    if "lab" not in request.fixturenames:
        yield
        return
    with checkers.using(checkers.shared()):
        yield


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory that is not there yet."""
    return tmp_path / "run"


def told(run: Path, event: str) -> list[Any]:
    """What a run's journal tells of one kind of event."""
    return [each for each in ckptkit.open_run(run).journal if each.event == event]
