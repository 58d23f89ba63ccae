"""A Slurm of one node on loopback: controller, node and munge, started here and ended here, with
all that is theirs in one directory.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONFIGURATION = """\
ClusterName=ckptkit
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.sock
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
ReturnToService=2
SlurmctldParameters=preempt_send_user_signal
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 CoresPerSocket=2
PartitionName=low Nodes={host} Default=YES PriorityTier=1 GraceTime=30 PreemptMode=REQUEUE
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF
"""


class Cluster:
    """A Slurm that runs.

    Args:
        directory: where all of it is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ = {"SLURM_CONF": str(directory / "slurm.conf"), "PATH": PATH}

    def ask(self, *command: object, environ: dict[str, str] | None = None) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            [*map(str, command)],
            env={**(environ or {}), **self.environ},
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def show(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        return dict(
            field.split("=", 1)
            for field in self.ask("scontrol", "--oneliner", "show", "job", job).split()
            if "=" in field
        )

    def until(
        self, job: str, true: Callable[[dict[str, str]], bool], patience_secs: float = 400
    ) -> dict[str, str]:
        """Waits for something to be true of a job; one that waits for its turn after a requeue gets
        it.
        """
        deadline = time.monotonic() + patience_secs
        while not true(shown := self.show(job)):
            assert time.monotonic() < deadline, f"it did not come to pass: {shown}"
            if shown["JobState"] == "PENDING" and shown["Reason"] == "BeginTime":
                self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
            time.sleep(0.3)
        return shown


def install() -> None:
    """Installs Slurm where it is not there; skips the test where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons want to be started as root")
    if all(shutil.which(program, path=PATH) for program in PROGRAMS):
        return
    if shutil.which("apt-get") is None:
        pytest.skip("Slurm is not installed, and there is no apt-get")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["update"],
        [
            "install",
            "-y",
            "--no-install-recommends",
            "slurmctld",
            "slurmd",
            "slurm-client",
            "munge",
        ],
    ):
        done = subprocess.run(
            ["apt-get", "-q", *command],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        if done.returncode != 0:
            pytest.skip(f"Slurm cannot be installed: {done.stderr[-500:]}")


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Starts one."""
    install()
    for name in ("state", "spool"):
        (directory / name).mkdir(parents=True)
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        controller_port, node_port = one.getsockname()[1], other.getsockname()[1]
    (directory / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            directory=directory,
            controller_port=controller_port,
            node_port=node_port,
        )
    )
    (directory / "key").write_bytes(secrets.token_bytes(1024))
    (directory / "key").chmod(0o400)
    made = Cluster(directory)
    munged = [
        f"--{name}={directory / file}"
        for name, file in {
            "key-file": "key",
            "socket": "munge.sock",
            "pid-file": "munged.pid",
            "log-file": "munged.log",
            "seed-file": "seed",
        }.items()
    ]
    try:
        made.ask("munged", "--force", *munged)
        made.ask("slurmctld", "-c", "-i")
        made.ask("slurmd")
        deadline = time.monotonic() + 60
        while "idle" not in made.ask("sinfo", "--noheader", "--format=%T"):
            assert time.monotonic() < deadline, (directory / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.3)
        yield made
    finally:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            made.ask("scancel", "--user=root", "--full")
            made.ask("scontrol", "shutdown")
        _end([directory / f"{name}.pid" for name in ("slurmd", "slurmctld", "munged")])


def _end(files: list[Path]) -> None:
    """Ends the daemons by the numbers that they have written; the controller and the node have been
    asked to already.
    """
    for file in files:
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            process = psutil.Process(int(file.read_text()))
            if file.name == "munged.pid":
                process.terminate()
            try:
                process.wait(20)
            except psutil.TimeoutExpired:
                process.kill()
