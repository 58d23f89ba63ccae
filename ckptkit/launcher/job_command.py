"""Turns the setting `workers` into the command and the environment that the launcher starts."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ckptkit.errors import ConfigError
from ckptkit.launcher.job_config import (
    VARIABLE,
    kubernetes_config,
    local_workers,
    slurm_config,
)

_TIMEOUT_SECS = 30.0


def command_of(workers: str, command: Sequence[str]) -> list[str]:
    """Return the command that the launcher supervises.

    Args:
        workers: the setting.
        command: the program of each worker.
    """
    if local_workers(workers) == 1:
        return list(command)
    return [sys.executable, "-m", "ckptkit.launcher.worker_group", workers, "--", *command]


def environment_of(workers: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the training, with `TF_CONFIG` from what the scheduler gives.

    Args:
        workers: the setting.
        environment: the environment of this process.

    Raises:
        ConfigError: If this process is no task of that scheduler.
    """
    if workers == "slurm":
        config = slurm_config(environment, _slurm_hosts(environment))
    elif workers.startswith("kubernetes:"):
        pods = int(workers.partition(":")[2])
        config = kubernetes_config(environment, pods, socket.getfqdn())
    else:
        return dict(environment)
    return {**environment, VARIABLE: config}


def _slurm_hosts(environment: Mapping[str, str]) -> list[str]:
    names = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    try:
        shown = subprocess.run(
            ["scontrol", "show", "hostnames", names],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"Expected the names of the nodes from scontrol show hostnames {names!r}. Received: "
            f"{error}. Start the launcher with srun inside of a Slurm job."
        ) from error
    return shown.stdout.split()
