"""A loop on several workers that is interrupted ends with the bits of one that is not, on each."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from tests.docs_examples import ROOT, blocks
from tests.support.job import start_job

PROGRAM = Path(__file__).with_name("worker_program.py")
LOST = 76


def run(
    start: Any, here: Path, deaths: list[dict[str, Any]], workers: int = 2, **options: Any
) -> list[list[int]]:
    """Run a job until it ends, once for each death and once more; return all exit codes."""
    here.mkdir(exist_ok=True)
    codes = []
    for death in [*deaths, {}]:
        given = {**options, **death, "run": str(here / "run"), "out": str(here)}
        job = start_job(start, PROGRAM, given, workers, cwd=here)
        codes.append([worker.wait(300) for worker in job])
        if not death:
            assert codes[-1] == [0] * workers, "\n".join(worker.stderr for worker in job)
    return codes


def results(here: Path, workers: int = 2) -> list[tuple[str, dict[int, str]]]:
    """What each worker ended with, and the loss of each step."""
    found = []
    for rank in range(workers):
        losses: dict[int, str] = {}
        for line in (here / f"losses-{rank}.jsonl").read_text().splitlines():
            step, loss = json.loads(line)
            assert losses.setdefault(step, loss) == loss, f"step {step} was done again, otherwise"
        digest = json.loads((here / f"result-{rank}.json").read_text())["digest"]
        found.append((digest, losses))
    return found


def test_killed_and_stopped(tf_process: Any, tmp_path: Path) -> None:
    """A worker is killed, then another one is told to stop; each ends all of them."""
    options = {"loop": "epochs", "pause": 0.05}
    run(tf_process, tmp_path / "plain", [], **options)
    deaths = [{"die": {"1": 7}}, {"die": {"1": 3}, "signal": "SIGTERM"}]
    killed, stopped, _ = run(tf_process, tmp_path / "interrupted", deaths, **options)
    assert killed == [LOST, -signal.SIGKILL]
    assert stopped == [75, 75]
    assert results(tmp_path / "interrupted") == results(tmp_path / "plain")
    checkpoint = ckptkit.open_run(tmp_path / "interrupted" / "run").checkpoints[-1]
    own = {entry.key for entry in checkpoint.manifest.tensors if entry.role == "worker"}
    # What is the same on all workers is there once.
    assert any(key.startswith("process/worker/1/metric/") for key in own)
    assert not any("/optimizer/" in key or "/model/weights/0" in key for key in own)


@pytest.mark.long
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("loop", ["steps", "epochs"])
def test_killed_at_random_moments(
    workers: int, loop: str, tf_process: Any, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    options: dict[str, Any] = {"loop": loop, "pause": 0.1, "steps": 30, "epochs": 3}
    run(tf_process, tmp_path / "plain", [], workers, **options)
    deaths = [
        {
            "secs": draw.uniform(0.5, 3.0),
            "who": draw.randrange(workers),
            "signal": draw.choice(["SIGKILL", "SIGKILL", "SIGTERM"]),
        }
        for _ in range(6)
    ]
    codes = run(tf_process, tmp_path / "interrupted", deaths, workers, **options)
    print(codes)
    for death, ends in zip(deaths, codes[:-1], strict=True):
        for rank, code in enumerate(ends):
            killed = death["signal"] == "SIGKILL" and rank == death["who"]
            assert code in ((-signal.SIGKILL, 0) if killed else (LOST, 75, 0))
    assert results(tmp_path / "interrupted", workers) == results(tmp_path / "plain", workers)


@pytest.mark.long
@pytest.mark.parametrize("who", [0, 1])
def test_a_worker_that_is_paused_ends_the_others(who: int, tf_process: Any, tmp_path: Path) -> None:
    job = start_job(
        tf_process,
        PROGRAM,
        {
            "run": str(tmp_path / "run"),
            "out": str(tmp_path),
            "pause": 0.1,
            "steps": 100,
            "die": {str(who): 8},
            "signal": "SIGSTOP",
        },
    )
    began = time.monotonic()
    assert job[1 - who].wait(200) == LOST
    print(f"{time.monotonic() - began:.0f} s")
    job[who].kill()


@pytest.mark.parametrize(
    ("other", "what", "both"),
    [
        ({"beta": 0.5}, "hyperparameters", ('{"beta_1": 0.9} on', '{"beta_1": 0.5} on')),
        ({"run": "/elsewhere/other"}, "name of the run", ("run on worker", "other on worker")),
    ],
)
def test_other_workers_train_something_else(
    other: dict[str, Any], what: str, both: tuple[str, str], tf_process: Any, tmp_path: Path
) -> None:
    """Each worker says both sides, and nothing is written."""
    options = {"run": str(tmp_path / "run"), "out": str(tmp_path), "only": {"1": other}}
    for worker in start_job(tf_process, PROGRAM, options):
        assert worker.wait(120) == 1
        for part in (f"ConfigError: Expected the same {what}", "worker 0", "worker 1", *both):
            assert part in worker.stderr
    assert not (tmp_path / "run").exists()


def test_a_loop_that_only_saves_is_stopped(tf_process: Any, tmp_path: Path) -> None:
    options = {"run": str(tmp_path / "run"), "out": str(tmp_path), "loop": "save", "steps": 400}
    die = {"die": {"1": 4}, "signal": "SIGTERM", "pause": 0.02}
    job = start_job(tf_process, PROGRAM, {**options, **die})
    assert [worker.wait(120) for worker in job] == [75, 75], job[0].stderr
    assert 4 <= ckptkit.open_run(tmp_path / "run").checkpoints[-1].step < 400


def test_the_documented_program(tf_process: Any, tmp_path: Path) -> None:
    (program,) = blocks((ROOT / "docs" / "workers.md").read_text(), "python")
    job = start_job(tf_process, program, {}, cwd=tmp_path)
    assert [worker.wait(120) for worker in job] == [0, 0], job[0].stderr
    assert ckptkit.open_run(tmp_path / "runs" / "job").checkpoints[-1].step == 30


def test_another_number_of_steps(tf_process: Any, tmp_path: Path) -> None:
    options = {"run": str(tmp_path / "run"), "out": str(tmp_path), "only": {"1": {"steps": 20}}}
    for worker in start_job(tf_process, PROGRAM, options):
        assert worker.wait(120) == 1
        assert "worker 0 is at manager.steps(12)" in worker.stderr
        assert "worker 1 is at manager.steps(20)" in worker.stderr
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
