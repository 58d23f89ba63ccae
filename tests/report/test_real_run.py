"""A run that was killed, preempted, and finished, by real processes: its history is what they have
printed.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.report.attempt_ledger import Attempt
from ckptkit.report.run_view import Run
from ckptkit.run.events import AttemptEnded, AttemptStarted, Progressed
from tests.support.journals import events_of
from tests.support.polling import until
from tests.support.processes import ROOT

pytestmark = pytest.mark.xdist_group("history")  # one process makes the run that they look at

PROGRAM = Path(__file__).with_name("program.py")


def printed(output: str) -> tuple[int, int]:
    """Where a process went on, and the last step that it did."""
    lines = [line.split() for line in output.splitlines() if line.startswith(("from ", "step "))]
    return int(lines[0][1]), int(lines[-1][1])


def has_progressed(run: Path, step: int) -> bool:
    """Whether the journal has a note of that step."""
    return any(event.step == step for event in events_of(run, Progressed))


class Story:
    """What was done to a run, and what its processes have printed."""

    def __init__(
        self, run: Path, printed: list[tuple[int, int]], killed_at: int, stopped_at: int
    ) -> None:
        self.run, self.printed, self.killed_at, self.stopped_at = (
            run,
            printed,
            killed_at,
            stopped_at,
        )

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return ckptkit.open_run(self.run).attempts


@pytest.fixture(scope="module")
def story(fork_server, tmp_path_factory) -> Story:
    run = tmp_path_factory.mktemp("story") / "run"
    chance = random.SystemRandom()
    killed_at = chance.choice([step for step in range(25, 70) if step % 20])
    stopped_at = killed_at + chance.randint(1, 30)
    print(f"{killed_at=} {stopped_at=}")

    first = fork_server.run(PROGRAM, run, 120, killed_at)
    first.wait_for_output(f"^step {killed_at}$")
    until(lambda: has_progressed(run, killed_at))
    until(
        lambda: (
            ckptkit.open_run(run).checkpoints[-1:]
            and ckptkit.open_run(run).checkpoints[-1].step == killed_at // 20 * 20
        )
    )
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL

    second = fork_server.run(PROGRAM, run, 120, stopped_at)
    second.wait_for_output(f"^step {stopped_at}$")
    second.send_signal(signal.SIGTERM)
    (run / "go").touch()
    second.check(code=75)

    third = fork_server.run(PROGRAM, run, 120)
    third.check()
    return Story(
        run, [printed(each.stdout) for each in (first, second, third)], killed_at, stopped_at
    )


def test_the_steps_are_those_that_were_printed(story):
    assert [(attempt.first_step, attempt.last_step) for attempt in story.attempts] == story.printed
    assert [attempt.steps_done for attempt in story.attempts] == [
        last - first for first, last in story.printed
    ]
    (_, killed), (again, stopped), (after, last) = story.printed
    assert killed == story.killed_at
    assert story.stopped_at <= stopped <= story.stopped_at + 1
    assert (after, last) == (stopped, 120)
    assert [attempt.steps_lost for attempt in story.attempts] == [killed - again, 0, 0]
    assert [attempt.steps_redone for attempt in story.attempts] == [0, killed - again, 0]
    assert killed - again == story.killed_at % 20 > 0


def test_the_causes_are_what_was_done_to_it(story):
    first, second, third = story.attempts
    assert (first.outcome, first.resumed_from) == ("dead", None)
    assert (second.outcome, second.signals, second.resumed_from.checkpoint) == (
        "preempted",
        ("SIGTERM",),
        f"ckpt-{story.printed[1][0]}-1",
    )
    assert second.cause == f"stopped by SIGTERM at step {story.printed[1][1]}"
    assert (third.outcome, third.cause) == ("finished", "finished at step 120")
    assert [mark.kind for mark in second.marks][-1] == "preempted"


def test_what_was_spent_is_the_time_of_the_attempt(story):
    run = ckptkit.open_run(story.run)
    for number in (2, 3):
        own = [event for event in run.journal if event.attempt == number]
        begin = next(event for event in own if isinstance(event, AttemptStarted))
        ended = next(event for event in own if isinstance(event, AttemptEnded))
        assert sum(ended.spent.values()) == pytest.approx(
            ended.time - begin.time, abs=0.5
        )  # two clocks
        assert {"preparing", "restoring", "first_step", "training", "saving"} <= set(ended.spent)
        assert begin.process_started <= begin.time


def test_goodput_has_the_lost_steps_and_the_gaps(story):
    found = ckptkit.open_run(story.run).goodput
    assert isinstance(ckptkit.open_run(story.run), Run)
    first, second, third = story.attempts
    assert found.start == pytest.approx(first.began, abs=1e-5)
    assert found.end == pytest.approx(third.end, abs=1e-5)
    bad = found.badput_secs
    assert bad["wasted_progress"] > 0
    # The system tells the start of a process in hundredths of a second: it may come out before the
    # last sign of the one before.
    gaps = [
        max(0.0, after.began - before.end) for before, after in ((first, second), (second, third))
    ]
    assert bad["infrastructure_recovery"] == pytest.approx(sum(gaps), abs=1e-4)
    assert bad["checkpoint_restore"] >= second.restore_secs
    assert 0 < found.ratio < 1
    assert found.productive_secs + sum(bad.values()) == pytest.approx(found.wall_secs, abs=1e-5)


def test_the_command_tells_the_same(story):
    done = subprocess.run(
        [sys.executable, "-m", "ckptkit", "history", story.run, "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    history = json.loads(done.stdout)
    assert [
        (each["first_step"], each["last_step"]) for each in history["attempts"]
    ] == story.printed
    assert history["steps_lost"] == story.killed_at % 20


def loop_over_slow_data(directory: str) -> dict[str, float]:
    """Trains over data that takes its time, evaluates after each epoch, and returns what the time
    went into.
    """
    import tensorflow as tf

    def slowly() -> Any:
        for number in range(5):
            time.sleep(0.02)
            yield number

    manager = ckptkit.CheckpointManager(
        directory, {"weight": tf.Variable(0.0)}, save=ckptkit.EveryNSteps(100)
    )
    dataset = tf.data.Dataset.from_generator(slowly, output_signature=tf.TensorSpec((), tf.int64))
    # TensorFlow adds a prefetch to the end of a pipeline, and that reads ahead during the steps.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    dataset = dataset.with_options(options)
    with manager:
        for _ in manager.epochs(2):
            for _ in manager.data(dataset):
                time.sleep(0.01)
        time.sleep(0.1)
    run = ckptkit.open_run(directory)
    (ended,) = events_of(directory, AttemptEnded)
    return {
        **ended.spent,
        "data_loading": run.goodput.badput_secs["data_loading"],
        "other": run.goodput.badput_secs["other"],
    }


def test_a_loop_knows_what_it_waits_for_its_data(tf_call, tmp_path):
    spent = (
        tf_call("tests.report.test_real_run:loop_over_slow_data", str(tmp_path / "run"))
        .check()
        .result
    )
    assert spent["data"] >= 2 * 5 * 0.02
    assert spent["first_step"] >= 0.01
    assert spent["training"] >= 9 * 0.01
    assert spent["outside"] >= 0.1
    assert spent["data_loading"] == pytest.approx(spent["data"], abs=1e-5)
    assert spent["other"] >= spent["outside"]


def train_on_other_threads(directory: str) -> list[dict[str, float]]:
    """Opens runs on one thread and trains them on another; in a loop of the manager's, and in one
    of its own.
    """
    import tensorflow as tf

    def loop() -> None:
        for _ in manager.steps(5):
            time.sleep(0.02)

    def own() -> None:
        for step in range(1, 6):
            time.sleep(0.02)
            manager.maybe_save(step)

    found = []
    for train in (loop, own):
        manager = ckptkit.CheckpointManager(
            f"{directory}/{train.__name__}",
            {"weight": tf.Variable(0.0)},
            save=ckptkit.EveryNSteps(100),
        )
        with manager:
            thread = threading.Thread(target=train)
            thread.start()
            thread.join()
        found.append(events_of(f"{directory}/{train.__name__}", AttemptEnded)[0].spent)
    return found


def test_it_is_the_thread_that_trains_whose_time_is_told(tf_call, tmp_path):
    result = (
        tf_call("tests.report.test_real_run:train_on_other_threads", str(tmp_path)).check().result
    )
    assert len(result) == 2
    for spent in result:
        assert spent["training"] >= 4 * 0.02
