"""The workers of a job: `TF_CONFIG` from what is known, and one worker's end ends them all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckptkit.errors import ConfigError
from ckptkit.launcher import worker_group
from ckptkit.launcher.job_command import command_of, environment_of
from ckptkit.launcher.job_config import check_workers, kubernetes_config, slurm_config
from ckptkit.launcher.worker_group import WorkerGroup, exit_code_of
from tests.support.polling import until

WORKER = """
import json, os, sys, time
task = json.loads(os.environ["TF_CONFIG"])
index = task["task"]["index"]
with open(f"{sys.argv[1]}/{index}", "w") as file:
    file.write(json.dumps([task["cluster"]["worker"], os.environ.get("CKPTKIT_LAUNCHER")]))
if index == int(sys.argv[2]):
    sys.exit(int(sys.argv[3]))
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([0, 0], 0),
        ([75, 75], 75),
        ([0, 75], 75),
        ([76, 76, 0], 76),
        ([75, 76], 76),
        ([-9, 76, 76], 137),
        ([76, -15, 1], 143),
        ([1, 76], 1),
        ([78, 78], 78),
    ],
)
def test_the_code_of_a_job(ends: list[int], code: int):
    assert exit_code_of(ends) == code


def test_one_end_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker_group, "LEAVE_SECS", 0.5)
    command = [sys.executable, "-c", WORKER, str(tmp_path), "1", "3"]
    environment = {**os.environ, "CKPTKIT_LAUNCHER": "/channel"}
    before = {number: signal.getsignal(number) for number in worker_group._PASSED_ON}
    try:
        exit_code = WorkerGroup(command, 3, environment).run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert exit_code == 3
    told = [json.loads((tmp_path / str(index)).read_text()) for index in range(3)]
    # The launcher follows the first worker only.
    assert [launcher for _, launcher in told] == ["/channel", None, None]
    addresses = told[0][0]
    assert len(set(addresses)) == 3
    assert all(each == addresses for each, _ in told)


def test_nobody_is_killed_after_the_end_of_training(monkeypatch: pytest.MonkeyPatch):
    """Another worker may still evaluate or export."""
    for name in ("LEAVE_SECS", "SAVE_SECS"):
        monkeypatch.setattr(worker_group, name, 0.2)
    program = (
        "import json, os, time; time.sleep(json.loads(os.environ['TF_CONFIG'])['task']['index'])"
    )
    before = {number: signal.getsignal(number) for number in worker_group._PASSED_ON}
    try:
        assert WorkerGroup([sys.executable, "-c", program], 2, dict(os.environ)).run() == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_signals_reach_all_workers(tmp_path: Path):
    command = command_of("2", [sys.executable, "-c", WORKER, str(tmp_path), "9", "0"])
    group = subprocess.Popen(command)
    until(lambda: {"0", "1"} <= set(os.listdir(tmp_path)))
    began = time.monotonic()
    group.send_signal(signal.SIGTERM)
    assert group.wait() == 143
    assert time.monotonic() - began < 50  # the workers have not slept to their end


def test_one_worker_needs_nothing():
    assert command_of("", ["train"]) == ["train"]
    assert command_of("1", ["train"]) == ["train"]
    assert environment_of("2", {"A": "b"}) == {"A": "b"}


@pytest.mark.parametrize("value", ["0", "-1", "two", "kubernetes", "kubernetes:0", "slurm:2"])
def test_other_forms_are_refused(value: str):
    with pytest.raises(ConfigError, match="Expected a number of workers"):
        check_workers(value)


def test_slurm():
    task = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "20007"}
    config = json.loads(slurm_config(task, ["node-a", "node-b"]))
    assert config == {
        "cluster": {"worker": ["node-a:12007", "node-b:12007"]},
        "task": {"type": "worker", "index": 1},
    }
    with pytest.raises(ConfigError, match="task 1 of 2 on 1 nodes"):
        slurm_config(task, ["node-a"])
    with pytest.raises(ConfigError, match="srun ckptkit run"):
        slurm_config({}, ["node-a"])


def test_kubernetes():
    pod = {"JOB_COMPLETION_INDEX": "1"}
    config = json.loads(kubernetes_config(pod, 2, "train-1.train.runs.svc.cluster.local"))
    assert config == {
        "cluster": {
            "worker": [
                "train-0.train.runs.svc.cluster.local:12000",
                "train-1.train.runs.svc.cluster.local:12000",
            ]
        },
        "task": {"type": "worker", "index": 1},
    }
    with pytest.raises(ConfigError, match="headless service"):
        kubernetes_config(pod, 2, "train-1")
    with pytest.raises(ConfigError, match="completionMode: Indexed"):
        kubernetes_config({}, 2, "train-1.train.runs.svc")
    with pytest.raises(ConfigError, match="Indexed Job with 1 pods"):
        kubernetes_config(pod, 1, "train-1.train.runs.svc")
