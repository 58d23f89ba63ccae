"""What is imported when nothing is trained. Times are printed by scripts/benchmarks/import_time.py;
here is their cause.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"tensorflow", "keras", "tensorboard", "jax", "torch"}


def imported(program: str, cwd: Path) -> set[str]:
    """The packages that a new Python has imported when `program` is done."""
    program += "\nimport json, sys\njson.dump(sorted(sys.modules), open('modules.json', 'w'))"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads((cwd / "modules.json").read_text())}


@pytest.fixture
def run(tmp_path):
    """A run with a checkpoint and with one that is damaged."""
    from tests.cli.conftest import DummyRun

    run = DummyRun(tmp_path / "run")
    run.attempt()
    run.save(100, metrics={"loss": 0.5})
    (run.save(200) / "manifest.json").write_text("{")
    return run


def test_import_ckptkit(tmp_path):
    found = imported("import ckptkit", tmp_path)
    assert not found & HEAVY
    assert not found & {"click", "rich", "msgspec", "psutil", "numpy"}, (
        "nor anything else that takes time"
    )


def test_policies_errors_and_open_run_need_no_tensorflow(run):
    program = """
import ckptkit
ckptkit.EveryNSteps(5) | ckptkit.OnBest("loss"), ckptkit.KeepLatest(2), ckptkit.RunPosition(1)
ckptkit.ConfigError
opened = ckptkit.open_run("run")
[checkpoint.problem for checkpoint in opened.checkpoints], opened.journal, opened.find(100)
"""
    assert not imported(program, run.root.parent) & HEAVY


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list", "run"], 0),
        (["list", "run", "--json"], 0),
        (["show", "run", "100"], 0),
        (["show", "run", "100", "--json"], 0),
        (["show", "run"], 3),
        (["verify", "run", "--all"], 3),
        (["prune", "run", "--keep-latest", "1", "--dry-run"], 0),
        (["pin", "run", "100"], 0),
        (["unpin", "run", "5"], 1),
        (["rollback", "run", "100", "--yes"], 0),
        (["list", "missing"], 10),
        (["save", "run"], 1),
        (["stop", "run", "--timeout", "0"], 1),
        (["run", "--notices", "off", "--run", "run", "--", "true"], 0),
        (["run", "--explain"], 0),
        (["--help"], 0),
        (["--version"], 0),
    ],
    ids=str,
)
def test_readers(run, arguments, code):
    program = f"from ckptkit.cli import main\nassert main({arguments!r}) == {code}"
    assert not imported(program, run.root.parent) & HEAVY


def test_a_command_is_imported_only_when_it_is_called(tmp_path):
    assert not imported("from ckptkit.cli import main\nmain(['--version'])", tmp_path) & {
        "rich",
        "msgspec",
        "psutil",
    }


def test_json_needs_no_drawing(run):
    assert "rich" not in imported(
        "from ckptkit.cli import main\nmain(['list', 'run', '--json'])", run.root.parent
    )


def test_the_help_of_all_commands_imports_none_of_them(tmp_path):
    program = "import sys\nfrom ckptkit.cli import main\nmain(['--help'])\n"
    program += "names = [name for name in sys.modules if name.endswith('_command')]\n"
    program += "assert not names, names"
    assert not imported(program, tmp_path) & {"rich", "msgspec", "psutil"}
