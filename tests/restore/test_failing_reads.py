"""No error of the system and no limit ever costs a good checkpoint, whatever reads it.

Unlike in `test_machine_errors.py`, the calls of TensorFlow's C++ fail, too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WAYS = ("opening", "restoring", "loading", "verifying")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    path = tmp_path_factory.mktemp("library") / "failing_calls.so"
    options = ["-shared", "-fPIC", "-O1", "-D_LARGEFILE64_SOURCE"]
    source = HERE / "failing_calls.c"
    subprocess.run([compiler, *options, "-o", path, source, "-ldl"], check=True)
    return path


def ends(fresh_process, directory, seed, kind, count, **environment):
    process = fresh_process(
        HERE / "failing_reads.py", directory, seed, kind, count, env=environment
    )
    process.check(timeout=3500)
    found = json.loads(process.stdout.splitlines()[-1])
    wrong = [end for end in found if "WRONG" in end]
    assert wrong == []
    # Too little memory has other errors, and TensorFlow may end the process.
    assert kind == "memory" or any(end.endswith("StorageError") for end in found), found
    return found


def test_an_error_number_moves_no_checkpoint(fresh_process, tmp_path, seed, library):
    """A few of them, each at one call of one way of reading."""
    found = ends(fresh_process, tmp_path, seed, "errno", 0, LD_PRELOAD=str(library))
    assert sum(found.values()) == 20


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_error_number_moves_a_checkpoint_in_any_way_of_reading(
    fresh_process, tmp_path, seed, library
):
    found = ends(fresh_process, tmp_path, seed, "errno", 3, LD_PRELOAD=str(library))
    assert sum(found.values()) > 1500
    assert {end.partition(":")[0] for end in found} == set(WAYS)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "count"), [("files", 24), ("memory", 20)])
def test_little_of_something_in_every_way_of_reading(fresh_process, tmp_path, seed, kind, count):
    found = ends(fresh_process, tmp_path, seed, kind, count)
    assert sum(found.values()) == len(WAYS) * count
