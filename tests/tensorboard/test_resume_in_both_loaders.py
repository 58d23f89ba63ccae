"""After a crash at step 620 and a resume from 500, TensorBoard shows each point once.

That holds in both of its loaders, as for a run that was never interrupted.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import events_of
from tests.support.processes import ForkServer
from tests.tensorboard.programs import EPOCH, EPOCHS, KILLED, SAVED
from tests.tensorboard.readers import Served, Shown, data_server, multiplexer, settled

STEPS = EPOCH * EPOCHS
BATCHES, EVERY_EPOCH = list(range(1, STEPS + 1)), list(range(EPOCHS))
OF_FIT: Shown = {
    "train/batch_loss": BATCHES,
    "train/batch_steps_per_second": BATCHES,
    "train/own": BATCHES,
    "tenths/tenth": BATCHES[::10],
    "train/epoch_loss": EVERY_EPOCH,
    "train/epoch_learning_rate": EVERY_EPOCH,
    "train/epoch_steps_per_second": EVERY_EPOCH,
    "validation/epoch_loss": EVERY_EPOCH,
    "validation/evaluation_loss_vs_iterations": list(range(EPOCH, STEPS + 1, EPOCH)),
}
OF_LOOP: Shown = {
    "train/loss": BATCHES,
    "train/loss_by_examples": [step * 1000 for step in BATCHES],
    "deep/er/evaluation/loss": list(range(EPOCH, STEPS + 1, EPOCH)),
    "deep/er/evaluation/loss_by_epoch": list(range(1, EPOCHS + 1)),
}
FILES = {"fit": 3, "loop": 2}
EXPECTED = {"fit": OF_FIT, "loop": OF_LOOP}
each_program = pytest.mark.parametrize("program", EXPECTED)


@pytest.fixture(scope="module")
def resumed(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directories of both programs, each killed and resumed."""
    found = {program: tmp_path_factory.mktemp(program) for program in EXPECTED}
    for dies in (True, False):
        processes = [
            fork_server.call(f"tests.tensorboard.programs:{program}", str(directory), dies)
            for program, directory in found.items()
        ]
        for process in processes:
            process.check(code=-9 if dies else 0)
    return found


@each_program
def test_python_loader(program: str, resumed: dict[str, Path]) -> None:
    shown = multiplexer(resumed[program] / "logs")
    assert {tag: shown.get(tag) for tag in EXPECTED[program]} == EXPECTED[program]


@each_program
def test_data_server(program: str, resumed: dict[str, Path]) -> None:
    with data_server(resumed[program] / "logs") as read:
        assert settled(read, EXPECTED[program]) == EXPECTED[program]


@each_program
def test_originals_show_orphans(program: str, resumed: dict[str, Path], tmp_path: Path) -> None:
    """Without the repair: what was there is there still, and has what has to go."""
    logs = tmp_path / "logs"
    shutil.copytree(resumed[program] / "logs", logs)
    kept = list(logs.rglob("events.out.before-attempt-2.*"))
    assert len(kept) == FILES[program]
    for path in kept:
        original = path.with_name(path.name.replace("before-attempt-2", "tfevents"))
        path.replace(original)
    for path in logs.rglob("*.restart-*"):
        path.unlink()
    shown, expected = multiplexer(logs), EXPECTED[program]
    wrong = {tag for tag in expected if shown[tag] != expected[tag]}
    assert wrong == set(expected), "each of these tags has an orphan"
    first = next(iter(expected))
    assert shown[first][KILLED - 1 : KILLED + 1] == [KILLED, SAVED + 1], "it jumps back"


@each_program
def test_journal_tells(program: str, resumed: dict[str, Path]) -> None:
    (told,) = events_of(resumed[program] / "run", "logs_repaired")
    assert told.directory == str(resumed[program] / "logs")
    assert (told.attempt, told.step, told.files) == (2, SAVED, FILES[program])
    assert told.points >= KILLED - SAVED
    assert told.left == []


def test_real_tensorboard(resumed: dict[str, Path], fresh_process: Any) -> None:
    """Over HTTP, as a browser asks."""
    process = fresh_process(
        "-m",
        "tensorboard.main",
        "--logdir",
        resumed["fit"] / "logs",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--samples_per_plugin",
        "scalars=100000",
        "--reload_interval",
        "1",
    )
    address = process.wait_for_output(r"TensorBoard \S+ at (http://\S+)")[1]
    served = Served(address)
    assert settled(served.scalars, OF_FIT) == OF_FIT
    assert {"train", "validation"} <= set(served.get("data/runs"))
    process.kill()
