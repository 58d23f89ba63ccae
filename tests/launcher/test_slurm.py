"""The shipped batch file under a real Slurm: before a time limit and when something more important
comes, it saves, goes back into the queue, and finishes with the bits of a training that nobody
interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ckptkit
from ckptkit.run.events import AttemptStarted, Restored, RunPreempted
from tests.launcher.project import ENVIRON, digest, project, uninterrupted
from tests.launcher.slurm_cluster import Cluster, cluster
from tests.support.processes import ROOT

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(1500)]

EPOCHS = 45  # more than a minute


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    return uninterrupted(tmp_path_factory.mktemp("reference"), EPOCHS)


class Submitted:
    """The batch file, submitted."""

    def __init__(self, slurm: Cluster, there: Path, *options: str) -> None:
        self.slurm, self.run, self.output = slurm, there / "runs" / "digits", there / "output"
        # A cluster's own limits and sizes are given to sbatch, which puts them over those in the
        # file.
        self.job = slurm.ask(
            "sbatch",
            "--parsable",
            "--partition=low",
            "--cpus-per-task=2",
            f"--output={self.output}",
            *options,
            ROOT / "scripts" / "launch" / "slurm.sbatch",
            environ={
                **ENVIRON,
                "RUNS": str(there / "runs"),
                "PROGRAM": str(project(there / "project", EPOCHS)),
            },
        )

    def until_it_has_saved(self) -> None:
        deadline = time.monotonic() + 200
        while not ((self.run / "checkpoints").exists() and ckptkit.open_run(self.run).checkpoints):
            assert time.monotonic() < deadline, self.output.read_text()[-3000:]
            time.sleep(0.2)

    def finished(self) -> dict[str, str]:
        shown = self.slurm.until(
            self.job,
            lambda job: (
                job["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "PREEMPTED")
            ),
        )
        assert (shown["JobState"], shown["ExitCode"]) == ("COMPLETED", "0:0"), (
            self.output.read_text()[-3000:]
        )
        return shown

    def attempts(self) -> list[dict[str, str]]:
        """What the journal keeps of the scheduler, for each attempt."""
        return [
            event.scheduler
            for event in ckptkit.open_run(self.run).journal
            if isinstance(event, AttemptStarted)
        ]


def test_before_the_time_limit(slurm, reference, tmp_path):
    # Slurm looks every 30 seconds, and sends the signal up to a minute early: after 30 to 60
    # seconds here.
    submitted = Submitted(slurm, tmp_path, "--time=2", "--signal=B:USR1@30")
    shown = submitted.finished()
    output = submitted.output.read_text()
    assert int(shown["Restarts"]) >= 1
    assert "has put job" in output
    assert "DUE TO TIME LIMIT" not in output
    assert digest(output) == reference
    assert_counted(submitted, int(shown["Restarts"]))


def test_when_something_more_important_comes(slurm, reference, tmp_path):
    submitted = Submitted(slurm, tmp_path)
    submitted.until_it_has_saved()
    other = slurm.ask(
        "sbatch",
        "--parsable",
        "--partition=high",
        "--cpus-per-task=2",
        "--output=/dev/null",
        "--wrap=sleep 1",
    )
    slurm.until(other, lambda job: job["JobState"] == "COMPLETED")
    shown = submitted.finished()
    output = submitted.output.read_text()
    assert shown["Restarts"] == "1"
    assert "has put job" in output
    assert digest(output) == reference
    assert_counted(submitted, 1)
    events = ckptkit.open_run(submitted.run).journal
    (preempted,), (restored,) = (
        [event for event in events if isinstance(event, kind)] for kind in (RunPreempted, Restored)
    )
    assert (preempted.reason, preempted.attempt, preempted.step) == ("SIGUSR1", 1, restored.step)


def test_one_that_is_cancelled_saves_and_stays_away(slurm, tmp_path):
    submitted = Submitted(slurm, tmp_path)
    submitted.until_it_has_saved()
    slurm.ask("scancel", submitted.job)
    shown = slurm.until(
        submitted.job,
        lambda job: "put back" in submitted.output.read_text() and job["JobState"] != "COMPLETING",
        patience_secs=60,
    )
    assert "not put back into Slurm's queue: job" in submitted.output.read_text()
    assert "a user has cancelled it" in submitted.output.read_text()
    assert (shown["JobState"], shown["Restarts"]) == ("CANCELLED", "0")
    (preempted,) = (
        event
        for event in ckptkit.open_run(submitted.run).journal
        if isinstance(event, RunPreempted)
    )
    assert preempted.reason.startswith("SIGTERM")


def assert_counted(submitted: Submitted, restarts: int) -> None:
    """`SLURM_RESTART_COUNT` is in the journal, once for each attempt that opened the run."""
    attempts = submitted.attempts()
    assert {attempt["slurm_job_id"] for attempt in attempts} == {submitted.job}
    counts = [int(attempt.get("slurm_restart_count", 0)) for attempt in attempts]
    assert counts == sorted(set(counts))
    assert counts[-1] == restarts
