"""From a cloud's notice to a training that goes on: the digits under `ckptkit run`, beside a
metadata server that behaves as the cloud's own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import ckptkit
from ckptkit.run.events import AttemptEnded, AttemptStarted, NoticeReceived, Restored, Saved
from ckptkit.run.journal import LAUNCHER
from ckptkit.run.stored_run import is_run
from tests.launcher.metadata import metadata
from tests.launcher.project import ENVIRON, digest
from tests.support.processes import ROOT

TRAINING = ROOT / "scripts" / "train_digits.py"
PATIENCE_SECS = 200
EPOCHS = {"gce": 2, "aws": 8, "azure": 3}
"""Long enough for a notice to be read: EC2's server is asked every 5 seconds."""
GRACE_SECS = {"gce": 30.0, "aws": 120.0, "azure": 30.0}
"""What the clouds announce."""


class Launched:
    """`ckptkit run`, as an instance starts it."""

    def __init__(self, cloud: str, environ: dict[str, str], run: Path) -> None:
        self.run = run
        training = [sys.executable, TRAINING, "--run", run, "--epochs", EPOCHS[cloud]]
        command = [sys.executable, "-m", "ckptkit", "run", f"--notices={cloud}", "--", *training]
        self.process = subprocess.Popen(
            [*map(str, command)],
            env={**ENVIRON, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until_it_has_saved(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECS
        while not (is_run(self.run) and ckptkit.open_run(self.run).checkpoints):
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=PATIENCE_SECS)
        return self.process.returncode, output


@pytest.mark.parametrize(
    "cloud",
    [
        "gce",
        pytest.param("aws", marks=pytest.mark.long),
        pytest.param("azure", marks=pytest.mark.long),
    ],
)
def test_a_notice_a_save_and_the_next_instance_goes_on(cloud, tf_process, tmp_path, capsys):
    run = tmp_path / "run"
    with metadata() as server:
        first = Launched(cloud, server.environ, run)
        try:
            first.until_it_has_saved()
            announced = time.time()
            server.announce(cloud, secs=GRACE_SECS[cloud])
            code, output = first.end()
        finally:
            first.process.kill()
    assert code == 75, output
    events = ckptkit.open_run(run).journal
    notice = next(
        event for event in events if isinstance(event, NoticeReceived) and event.attempt == LAUNCHER
    )
    saved = [event for event in events if isinstance(event, Saved)][-1]
    assert notice.source == cloud
    assert [event.outcome for event in events if isinstance(event, AttemptEnded)] == ["preempted"]
    assert saved.time >= announced, "nothing was saved after the notice"
    with capsys.disabled():
        print(
            f"\n{cloud}: notice heard after {notice.time - announced:.2f} s, checkpoint of step "
            f"{saved.step} durable after "
            f"{saved.time - announced:.2f} s, of {GRACE_SECS[cloud]:g}",
            end=" ",
        )
    # The one time that is asserted: this is what a notice is for.
    assert saved.time - announced < GRACE_SECS[cloud]

    with metadata() as server:  # that of the next instance, which nobody takes back
        second = Launched(cloud, server.environ, run)
        try:
            code, output = second.end()
        finally:
            second.process.kill()
    assert code == 0, output
    assert server.requests, "nobody watched"
    events = ckptkit.open_run(run).journal
    assert [event.attempt for event in events if isinstance(event, AttemptStarted)] == [1, 2]
    assert [event.step for event in events if isinstance(event, Restored)] == [saved.step]
    alone = (
        tf_process(TRAINING, "--run", tmp_path / "alone", "--epochs", EPOCHS[cloud]).check().stdout
    )
    assert digest(output) == digest(alone)
