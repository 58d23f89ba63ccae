"""SIGKILL at random moments of a real training: nothing that was committed is lost, nothing bad is
restored, and the end is that of a run that nobody killed.
"""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from ckptkit.errors import CorruptCheckpointError
from ckptkit.layout import RunLayout
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.verify import verify
from tests.support.polling import until

PROGRAM = "tests.campaigns.crash.training:train"
STEPS_FOR_A_KILL = 100
"""More than are done until the next kill, on the average."""


def newest_whole(layout: RunLayout) -> int:
    """The newest step that a reader finds; every visible checkpoint must verify in full."""
    found = list_checkpoints(layout)
    for checkpoint in found:
        try:
            verify(checkpoint)
        except CorruptCheckpointError as error:
            raise AssertionError(f"{checkpoint.name} is visible and not whole") from error
    return found[-1].step if found else 0


@pytest.mark.parametrize(
    "kills", [12, pytest.param(300, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
def test_killed_at_random_moments(kills, fork_server, tmp_path):
    total = kills * STEPS_FOR_A_KILL
    expected = (
        fork_server.call(PROGRAM, str(tmp_path / "plain"), total, total).check(timeout=1800).result
    )
    seed = random.SystemRandom().randrange(2**31)
    print(f"seed={seed}")
    rng = random.Random(seed)
    run, killed, before_training, last = tmp_path / "run", 0, 0, 0
    while killed < kills:
        process = fork_server.call(PROGRAM, str(run), total, 1)
        if rng.random() < 0.2:
            time.sleep(rng.uniform(0.0, 0.5))  # at any moment of its start
        else:
            process.wait_for_output("goes on from")
            time.sleep(rng.expovariate(1 / 0.7))
        if process.poll() is not None:
            process.check()
            break
        process.kill()
        killed += 1
        newest = newest_whole(RunLayout(Path(run)))
        assert newest >= last, f"kill {killed}: step {last} was committed and is lost"
        if (found := re.search(r"goes on from (\d+)", process.stdout)) is None:
            before_training += 1
        else:
            assert int(found[1]) == last, (
                f"kill {killed}: restored {found[1]}, and the newest was {last}"
            )
        last = newest
    process = fork_server.call(PROGRAM, str(run), total, total).check(timeout=1800)
    assert int(re.search(r"goes on from (\d+)", process.stdout)[1]) >= last
    assert process.result == expected
    print(
        f"{killed} kills, {before_training} of them before training began; step {last} of {total} "
        "was reached by then"
    )
    assert killed >= kills * 0.9, "the run has to be long enough for its kills"
    assert not (run / "quarantine").exists()


def test_an_evaluator_beside_a_training_that_keeps_one_checkpoint_sees_no_error(
    fork_server, tmp_path
):
    run = str(tmp_path / "run")
    training = fork_server.call(PROGRAM, run, 10**6, 1, 1)
    until(lambda: list_checkpoints(RunLayout(Path(run))), process=training)
    evaluators = [
        fork_server.call("tests.campaigns.crash.evaluating:evaluate", run, 5.0) for _ in range(2)
    ]
    for evaluator in evaluators:
        steps = evaluator.check().result
        assert steps == sorted(steps)
        assert len(set(steps)) > 2, "training went on meanwhile"
    assert training.poll() is None, training.output()
    training.kill()
    newest_whole(RunLayout(Path(run)))
