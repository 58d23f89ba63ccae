"""What a worker without the run directory keeps on its machine and reports to its launcher."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ckptkit import EveryNSteps, KeepBest, OnBest
from ckptkit.errors import BackgroundSaveError, WorkerLost
from ckptkit.run.launcher_channel import Channel
from ckptkit.session import remote_control
from ckptkit.session.closing import close_session
from ckptkit.session.launcher_client import LauncherClient
from ckptkit.session.options import make_options
from ckptkit.session.phase import PhaseMachine
from ckptkit.session.position_and_metrics import RunProgress
from ckptkit.session.private_directory import private_directory
from ckptkit.session.remote_control import RemoteControl
from ckptkit.session.session import Session
from ckptkit.session.stopping import Stopping
from ckptkit.session.worker_team import WorkerTeam
from ckptkit.tracking import strategy_check
from ckptkit.workers.cluster import Alone

KILLED = """
import os, sys
from ckptkit.session.private_directory import private_directory
print(private_directory(1)[0], flush=True)
os.kill(os.getpid(), 9)
"""


def test_directories_of_killed_workers_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    ended = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True)
    killed = Path(ended.stdout.strip())
    assert killed.is_dir()
    first, remove_first = private_directory(1)
    assert not killed.exists()
    _, remove_second = private_directory(2)
    assert first.is_dir()
    remove_first()
    remove_second()
    assert list(tmp_path.iterdir()) == []


def stopping(tmp_path: Path) -> Stopping:
    options = make_options(tmp_path / "run", {})
    return Stopping(SimpleNamespace(), options, SimpleNamespace(), SimpleNamespace())


def test_a_stop_for_good_reaches_the_launcher_of_each_worker(tmp_path: Path):
    first, told, asked = stopping(tmp_path), [], []
    first.hold(lambda *wish: told.append(wish))
    first.request("ckptkit stop", for_good=True)
    assert told == [("ckptkit stop", True)]
    assert not first.requested
    other = stopping(tmp_path)
    other.hold(lambda *wish: pytest.fail("told again"))
    other.stops_for_good = lambda: asked.append(True)
    other.release(*told[0][:1], for_good=told[0][1])
    assert other.requested
    assert asked == [True]


@pytest.mark.parametrize("has_run", [True, False])
def test_a_worker_reports_what_its_launcher_cannot_see(
    has_run: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    channel = Channel(tmp_path / "channel")
    channel.directory.mkdir()
    said: dict[str, Any] = {}
    client = LauncherClient(channel, -1)
    monkeypatch.setattr(client, "say", said.update)
    monkeypatch.setattr(remote_control, "link", lambda: client)
    options = make_options(tmp_path / "run", {})
    phases = PhaseMachine(lambda: 0.0)
    session = SimpleNamespace(phases=phases, progress=RunProgress(phases))
    journal, end = SimpleNamespace(attempt=1), stopping(tmp_path)
    remote = RemoteControl(session, options, journal, end, SimpleNamespace(), has_run=has_run)
    session.progress.saved_by_job = 7
    try:
        remote.start()
    finally:
        remote.close()
    assert said["run"] == (str(tmp_path / "run") if has_run else "")
    assert said["saved"] == 7
    end.release("worker 0 was asked to stop", for_good=True)
    assert said["asked"]


def test_a_process_alone_is_spared_a_walk_over_its_state(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(strategy_check, "visit", lambda *given: pytest.fail("walked"))
    assert strategy_check.job_strategy({"model": object()}) is None


def test_workers_do_not_meet_at_each_step_for_what_is_kept(tmp_path: Path):
    for policy, meets in [(EveryNSteps(3), False), (OnBest("loss", mode="min"), True)]:
        keep = KeepBest("loss", mode="min", n=2)
        options = make_options(tmp_path / "run", {}, save=policy, keep=keep)
        team = WorkerTeam(Alone(), SimpleNamespace(options=options))
        assert team._always_meets == meets


def test_a_safe_point_on_one_worker_serves_and_counts_nothing():
    looked: list[bool] = []
    session = SimpleNamespace(
        progress=SimpleNamespace(beats=0),
        team=SimpleNamespace(look_ahead=lambda: looked.append(True)),
        stopping=SimpleNamespace(requested=True, serve=lambda: pytest.fail("served")),
    )
    Session.safe_point(session)
    assert looked == [True]


def test_a_loss_decides_the_exit_code_though_a_save_has_failed_too():
    def fail() -> None:
        raise BackgroundSaveError("a save failed")

    ends: list[Any] = []
    session = SimpleNamespace(
        team=SimpleNamespace(give_up=ends.append, close=ends.append),
        done=False,
        stopping=SimpleNamespace(preempted=False, answered_elsewhere=False),
        journal=SimpleNamespace(record=ends.append),
        position=SimpleNamespace(step=3),
        saves=SimpleNamespace(saver=SimpleNamespace(wait=fail, abandon=lambda: None)),
    )
    close_session(session, SimpleNamespace(), ExitStack(), WorkerLost("worker 1 has ended"))
    assert isinstance(ends[0], WorkerLost)
    with pytest.raises(BackgroundSaveError):
        close_session(session, SimpleNamespace(), ExitStack(), ValueError("a bug"))
