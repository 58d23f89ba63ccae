"""What the tests of `fit` share."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from tests.support import checkers


@pytest.fixture(scope="session")
def trainings() -> Any:
    """Return the module of small trainings, importing TensorFlow only when a test needs it."""
    return importlib.import_module("tests.keras.trainings")


@pytest.fixture(autouse=True)
def _one_process_checks_all_exports(request: pytest.FixtureRequest) -> Iterator[None]:
    if "trainings" not in request.fixturenames:
        yield
        return
    with checkers.using(checkers.shared()):
        yield


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run directory that does not exist yet."""
    return tmp_path / "run"


def journal_events(run: Path, event: str) -> list[Any]:
    """Return the events of one kind in a run's journal."""
    return [each for each in ckptkit.open_run(run).journal if each.event == event]
