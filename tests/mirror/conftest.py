"""The servers of this room's tests; they are started once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.store_servers import StoreServer, environment, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server, environment(server.env):
        yield server


@pytest.fixture
def new_directory(tmp_path: Path) -> Callable[[], Path]:
    """`new_directory()`: an empty directory, as on another machine."""
    numbers = itertools.count()
    return lambda: tmp_path / f"machine-{next(numbers)}"
