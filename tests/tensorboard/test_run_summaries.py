"""The run's own event files: what they show, also after restarts and on a full disk."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import ckptkit
from ckptkit.report.goodput import goodput_of
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.run import events
from ckptkit.tensorboard.event_files import read_events
from ckptkit.tensorboard.history_markdown import history_markdown
from ckptkit.testing import FaultyFiles
from tests.support.polling import until
from tests.tensorboard.readers import data_server, multiplexer, settled

TAGS = {
    "save/stall_secs",
    "save/write_secs",
    "save/size_bytes",
    "disk/free_bytes",
    "memory/process_bytes",
    "memory/host_free_bytes",
    "memory/host_used_bytes",
}
KINDS = ["MakeDir", "CreateFile", "Append"]


def train(run: str, total: int, killed: bool = False) -> None:
    """Saves at every tenth step, and may be killed between two saves."""
    import tensorflow as tf

    weight = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        run, {"weight": weight}, save=ckptkit.EveryNSteps(10), keep=ckptkit.KeepLatest(9)
    )
    with manager:
        for step in manager.steps(total):
            weight.assign_add(1.0)
            if step % 10 == 1:
                manager.wait_until_finished()
            if killed and step == 35:
                wait_for_points(run, 3)
                os.kill(os.getpid(), signal.SIGKILL)


def wait_for_points(run: str, number: int) -> None:
    board = Path(run) / "tensorboard"
    until(lambda: len(multiplexer(board).get("./save/size_bytes", [])) >= number)


def refused(directory: str) -> list[dict[str, Any]]:
    """Disks that take checkpoints, and none of these files."""
    import tensorflow as tf

    found = []
    for kind in KINDS:
        files, weight = FaultyFiles(), tf.Variable(0.0)
        files.fail(
            errno.ENOSPC,
            when=lambda step, kind=kind: "tensorboard" in str(step.path) and step.kind == kind,
            times=None,
        )
        manager = ckptkit.CheckpointManager(
            f"{directory}/{kind}",
            {"weight": weight},
            save=ckptkit.EveryNSteps(1),
            keep=ckptkit.KeepLatest(9),
            files=files,
        )
        with manager:
            for _ in manager.steps(4):
                manager.wait_until_finished()
        found.append({"steps": manager.all_steps, "reached": files.reached})
    return found


def in_the_foreground(run: str) -> dict[str, list[float]]:
    """Saves in the foreground: training stands still while they are written."""
    import tensorflow as tf
    from tensorboard.util.tensor_util import make_ndarray

    weight = tf.Variable(tf.zeros([1000]))
    with ckptkit.CheckpointManager(
        run, {"weight": weight}, save=ckptkit.EveryNSteps(1), background=False
    ) as manager:
        for _ in manager.steps(3):
            weight.assign_add(tf.ones([1000]))
    found: dict[str, list[float]] = {}
    for path in Path(run, "tensorboard").glob("events.out.tfevents.*"):
        with path.open("rb") as file:
            for _, _, event in read_events(file):
                for value in event.summary.value:
                    found.setdefault(value.tag, []).append(float(make_ndarray(value.tensor)))
    return found


def interrupted_while_it_waits(run: str) -> list[int]:
    """Ctrl-C while the end of an attempt waits for the last points; another attempt of the process
    follows.
    """
    import tensorflow as tf

    def interrupted() -> None:
        raise KeyboardInterrupt

    weight = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(run, {"weight": weight})
    try:
        with manager:
            for _ in manager.steps(2):
                weight.assign_add(1.0)
            assert manager._slot.session is not None
            manager._slot.session._logs.summaries.end = interrupted  # type: ignore[method-assign]
    except KeyboardInterrupt:
        pass
    with ckptkit.CheckpointManager(run, {"weight": weight}) as manager:
        return [*manager.steps(4)]


def in_silence(run: str) -> dict[str, Any]:
    """The system does not know this process, as in a sandbox with process numbers of its own, and
    the `/proc` of outside.
    """
    import psutil

    def unknown(pid: int | None = None) -> None:
        raise psutil.NoSuchProcess(pid)

    with mock.patch.object(psutil, "Process", unknown):
        train(run, 20)
    journal = ckptkit.open_run(run).journal
    return {
        "steps": ckptkit.open_run(run).find("latest").step,
        "points": multiplexer(Path(run) / "tensorboard")["./save/size_bytes"],
        "began": [
            event.process_started for event in journal if isinstance(event, events.AttemptStarted)
        ],
    }


@pytest.fixture(scope="module")
def restarted(fork_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("board") / "run"
    fork_server.call("tests.tensorboard.test_run_summaries:train", str(run), 60, True).check(
        code=-signal.SIGKILL
    )
    fork_server.call("tests.tensorboard.test_run_summaries:train", str(run), 60).check()
    return run


def test_points_of_all_attempts(restarted: Path) -> None:
    """One line, with a point for each save; goodput is there at the first ones at least."""
    expected = {f"./{tag}": [10, 20, 30, 40, 50, 60] for tag in TAGS}
    shown = multiplexer(restarted / "tensorboard")
    assert {tag: shown.get(tag) for tag in expected} == expected
    assert shown["./save/interval_secs"] == [20, 30, 50, 60], "within one attempt"
    assert shown["./goodput"][0] == 10
    with data_server(restarted / "tensorboard") as read:
        assert settled(read, expected) == expected


def test_history_is_one_text(restarted: Path) -> None:
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    loader = EventAccumulator(str(restarted / "tensorboard" / "history"))
    loader.Reload()
    (found,) = loader.Tensors("history")
    text = found.tensor_proto.string_val[0].decode()
    rows = [
        line for line in text.splitlines() if line.startswith("| ") and "2, from step 30" in line
    ]
    assert len(rows) == 1
    assert "finished at step 60" in rows[0]
    assert "**Goodput" in text


def test_a_disk_that_refuses(tf_call: Any, tmp_path: Path) -> None:
    process = tf_call("tests.tensorboard.test_run_summaries:refused", str(tmp_path)).check()
    for found in process.result:
        assert found["steps"] == [1, 2, 3, 4]
        assert found["reached"] > 0
    assert process.stderr.count("no further TensorBoard points about this run") == len(KINDS), (
        "it is said once in each run"
    )


def test_saves_in_the_foreground_stop_training_while_they_are_written(
    tf_call: Any, tmp_path: Path
) -> None:
    shown = (
        tf_call("tests.tensorboard.test_run_summaries:in_the_foreground", str(tmp_path / "run"))
        .check()
        .result
    )
    assert len(shown["save/stall_secs"]) == len(shown["save/write_secs"]) == 3
    assert all(
        stall > write > 0
        for stall, write in zip(shown["save/stall_secs"], shown["save/write_secs"], strict=True)
    )


def test_the_run_is_closed_if_its_end_is_interrupted(tf_call: Any, tmp_path: Path) -> None:
    assert tf_call(
        "tests.tensorboard.test_run_summaries:interrupted_while_it_waits", str(tmp_path / "run")
    ).check().result == [3, 4]


def test_a_process_that_the_system_does_not_know(tf_call: Any, tmp_path: Path) -> None:
    result = (
        tf_call("tests.tensorboard.test_run_summaries:in_silence", str(tmp_path / "run"))
        .check()
        .result
    )
    assert result == {"steps": 20, "points": [10, 20], "began": [None]}


def test_text_of_the_journal_stays_text() -> None:
    hostile = "<script>alert(1)</script> | [a](javascript:b)\n# c"
    journal = [
        events.AttemptStarted(attempt=1, time=1000.0, host=hostile, pid=1, program="train.py"),
        events.AttemptEnded(attempt=1, time=1010.0, outcome="failed", step=3),
    ]
    ledger = ledger_of(journal, 1020.0)
    text = history_markdown(ledger, goodput_of(ledger))
    assert not set("<>[]#\\") & set(text.replace("&#", ""))
    (row,) = [line for line in text.splitlines() if "alert" in line]
    assert row.count("|") == 11
    assert json.dumps(text)
