"""What `ckptkit save` and `ckptkit stop` answer where the process has ended: done only where its
state is saved.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckptkit.cli.request_answers import answer_by_end
from ckptkit.run.events import AttemptEnded, Event, Restored, RunPreempted, Saved
from tests.docs_examples import ROOT
from tests.support.schemas import printed


def saved(step: int) -> Saved:
    return Saved(
        checkpoint=f"ckpt-{step}-1",
        step=step,
        epoch=0,
        batch=0,
        trigger="",
        size_bytes=1,
        snapshot_secs=0,
        write_secs=0,
    )


def restored(step: int) -> Restored:
    return Restored(checkpoint=f"ckpt-{step}-1", step=step, epoch=0, batch=0, secs=1)


def ended(step: int, outcome: str = "stopped") -> AttemptEnded:
    return AttemptEnded(outcome=outcome, step=step)


LOST = "stopped at step 1000, which was not saved; "


@pytest.mark.parametrize(
    ("told", "done", "words"),
    [
        ([saved(1000), ended(1000)], True, "stopped at step 1000"),
        ([restored(1000), ended(1000)], True, "stopped at step 1000"),
        ([ended(0)], True, "stopped at step 0"),  # a run that is new, and has made no step
        (
            [restored(900), saved(950), saved(1000), ended(1000, "finished")],
            True,
            "finished at step 1000",
        ),
        (
            [saved(900), RunPreempted(step=900, reason="", exit_code=75, secs=1), ended(1000)],
            False,
            LOST + "the newest checkpoint is of step 900",
        ),
        ([restored(900), ended(1000)], False, LOST + "the newest checkpoint is of step 900"),
        (
            [restored(800), saved(900), ended(1000)],
            False,
            LOST + "the newest checkpoint is of step 900",
        ),
        ([ended(1000)], False, LOST + "there is no checkpoint"),
        ([saved(1000), ended(1000, "failed")], False, "failed at step 1000"),
        (
            [saved(900), ended(1000, "failed")],
            False,
            "failed at step 1000, which was not saved; the newest checkpoint is of step 900",
        ),
    ],
)
def test_an_end_is_an_answer(told: list[Event], done: bool, words: str):
    answer = answer_by_end(told)
    assert answer is not None
    assert (answer.done, answer.words, answer.step) == (done, words, told[-1].step)


@pytest.mark.parametrize(
    ("newest", "done", "words"),
    [
        (1000, True, "stopped at step 1000"),
        (900, False, LOST + "the newest checkpoint is of step 900"),
        (None, False, LOST + "there is no checkpoint"),
    ],
)
def test_an_end_on_the_way_to_where_the_run_was(newest: int | None, done: bool, words: str):
    """The state of the newest checkpoint is not told to be restored before its place in the data is
    reached.
    """
    answer = answer_by_end([ended(1000)], newest)
    assert answer is not None
    assert (answer.done, answer.words) == (done, words)


TRAINING = """
import sys, time
from ckptkit.clock import SystemClock
from ckptkit.run.control_requests import Mailbox
from ckptkit.run.events import AttemptEnded, AttemptStarted, Requested, Saved
from ckptkit.storage.files import FileSystem
from ckptkit.run.journal import next_attempt, start_journal
from ckptkit.layout import run_layout
from ckptkit.ownership.run_lock import RunLock

def asked(request):
    global heard
    journal.record(Requested(id=request.id, action=request.action, source=request.source))
    heard = True

heard, layout = False, run_layout("run")
lock = RunLock(FileSystem(), layout, SystemClock(), at_least=next_attempt(layout))
journal = start_journal(FileSystem(), layout, SystemClock(), lock.number)
journal.record(AttemptStarted(host="", pid=1, program=""))
mailbox = Mailbox(layout.request, lock.number, asked)
print("here", flush=True)
while not heard:
    mailbox.look()
    time.sleep(0.01)
step = int(sys.argv[1])
saved = Saved(
    checkpoint=f"ckpt-{step}-1", step=step, epoch=0, batch=0, trigger="",
    size_bytes=1, snapshot_secs=0, write_secs=0,
)
journal.record(saved)
journal.record(AttemptEnded(outcome="preempted", step=1000))
lock.release()
"""
"""A training without TensorFlow that is at step 1000, and that has saved this one where it ends."""


@pytest.mark.parametrize("options", [[], ["--json"]], ids=str)
@pytest.mark.parametrize("action", ["save", "stop"])
@pytest.mark.parametrize(
    ("step", "code", "words"),
    [
        (1000, 0, "preempted at step 1000\n"),
        (
            900,
            1,
            "preempted at step 1000, which was not saved; the newest checkpoint is of step 900",
        ),
    ],
)
def test_the_exit_code_says_whether_the_state_is_saved(
    tmp_path: Path, action: str, step: int, code: int, words: str, options: list[str]
):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(step)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as training:
        try:
            assert training.stdout is not None
            assert training.stdout.readline() == "here\n"
            done = subprocess.run(
                [sys.executable, "-m", "ckptkit", action, "run", *options],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            training.kill()
    assert done.returncode == code, done.stderr
    if options and code == 0:
        answer = printed("save", done.stdout) if action == "save" else printed("stop", done.stdout)
        assert (answer["step"], answer["words"]) == (1000, words.strip())
    assert words.strip() in (done.stdout if code == 0 else done.stderr)
    assert bool(done.stdout) == (code == 0)
