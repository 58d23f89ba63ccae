"""Storage that hangs in the hands of the launcher, while a training runs."""

from __future__ import annotations

import os
import signal

import pytest

from ckptkit.run.events import LaunchEnded, SignalReceived
from tests.launcher.conftest import ROOT, is_there

HANGS = """
import os, time
from ckptkit.{room} import {module}

does = {module}.{name}

def hangs(*args, **more):
    while os.path.exists("hangs"):
        open("hung", "w").close()
        time.sleep(0.005)
    return does(*args, **more)

{module}.{name} = hangs
"""


@pytest.mark.parametrize(
    ("room", "module", "name"),
    [
        ("run", "control_requests", "read_request"),
        ("run", "journal", "start_launcher_journal"),
        ("ownership", "claims", "list_claims"),
    ],
)
def test_storage_that_hangs_keeps_no_signal_and_no_deadline_from_the_training(
    launch, tmp_path, room, module, name
):
    """Where it looks for a request to stop, opens its journal, and sees what earlier launchers have
    left.
    """
    (tmp_path / "sitecustomize.py").write_text(
        HANGS.format(room=room, module=module, name=name)
    )  # of the launcher: the training is started without `site`
    before = name == "read_request"  # it looks until the training has opened its run
    launched = launch(
        "note:SIGUSR2:SIGTERM",
        "wait:open",
        "open",
        "step",
        "wait:go",
        options=["--grace-secs", "2"],
        named=before,
        environment={"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
    ).waits("open")
    (tmp_path / "hangs").touch()
    if not before:
        launched.go_on("open").waits()
    launched.until((tmp_path / "hung").exists)
    for count, number in enumerate((signal.SIGUSR2, signal.SIGTERM), start=1):
        launched.process.send_signal(number)
        launched.until(lambda count=count: len(launched.signals()) >= count)
    launched.until(lambda: not is_there(launched.pids[0]))
    (tmp_path / "hangs").unlink()
    assert launched.wait() == 75
    assert [event.signal for event in launched.told(SignalReceived)] == ["SIGUSR2", "SIGTERM"]
    assert [(event.cause, event.of_attempt) for event in launched.told(LaunchEnded)] == [
        ("signal", 0 if before else 1)
    ]
