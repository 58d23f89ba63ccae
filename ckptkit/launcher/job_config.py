"""Makes `TF_CONFIG`, which tells each worker of a job its number and the addresses of all. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ckptkit.errors import ConfigError

VARIABLE = "TF_CONFIG"

FIRST_PORT, PORTS = 12_000, 20_000
"""The ports of jobs on several machines; below those that a system gives to clients."""

_FORMS = re.compile(r"(?P<local>[1-9]\d{0,3})|(?P<slurm>slurm)|kubernetes:(?P<pods>[1-9]\d{0,3})")


def check_workers(value: str) -> str:
    """Return the setting `workers` if it has one of its forms.

    Raises:
        ConfigError: If it has not.
    """
    if value and not _FORMS.fullmatch(value):
        raise ConfigError(
            "Expected a number of workers on this machine, slurm, or kubernetes:N with the number "
            f"of pods. Received: workers={value!r}."
        )
    return value


def local_workers(value: str) -> int:
    """Return how many workers to start on this machine; 1 if the setting says nothing of that."""
    return int(value) if value.isdecimal() else 1


def task_config(addresses: Sequence[str], index: int) -> str:
    """Return `TF_CONFIG` for one worker.

    Args:
        addresses: host and port of each worker.
        index: the number of this one.
    """
    return json.dumps(
        {
            "cluster": {"worker": list(addresses)},
            "task": {"type": "worker", "index": index},
        }
    )


def slurm_config(environment: Mapping[str, str], hosts: Sequence[str]) -> str:
    """Return `TF_CONFIG` for the worker that `srun` starts on this node.

    Args:
        environment: the environment of the task.
        hosts: the names of the nodes, in Slurm's order.

    Raises:
        ConfigError: If Slurm has not started one task on each node.
    """
    try:
        rank, tasks = int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"])
        job = int(environment["SLURM_JOB_ID"])
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"Expected a task of Slurm, with SLURM_PROCID, SLURM_NTASKS and SLURM_JOB_ID. "
            f"Received: {error}. Start it with: srun ckptkit run --workers slurm -- python "
            "train.py."
        ) from error
    if tasks != len(hosts) or not 0 <= rank < tasks:
        raise ConfigError(
            f"Expected one task on each node. Received: task {rank} of {tasks} on {len(hosts)} "
            "nodes. Pass --ntasks-per-node=1 to sbatch."
        )
    port = FIRST_PORT + job % PORTS
    return task_config([f"{host}:{port}" for host in hosts], rank)


def kubernetes_config(environment: Mapping[str, str], pods: int, host: str) -> str:
    """Return `TF_CONFIG` for a pod of an Indexed Job, or of a Job in a JobSet.

    Args:
        environment: the environment of the pod.
        pods: the number of pods.
        host: the full name of this pod, which ends with its index before the first dot.

    Raises:
        ConfigError: If the pod has no index, or no name by which the others find it.
    """
    index = environment.get("JOB_COMPLETION_INDEX", "")
    name, _, domain = host.partition(".")
    if not index.isdecimal() or not name.endswith(f"-{index}") or int(index) >= pods:
        raise ConfigError(
            f"Expected a pod of an Indexed Job with {pods} pods, whose name ends with its index. "
            f"Received: the pod {name!r} with JOB_COMPLETION_INDEX={index!r}. Set completionMode: "
            "Indexed, and completions to the number of workers."
        )
    if not domain:
        raise ConfigError(
            f"Expected a pod that others find by its name. Received: {host!r}, without a domain. "
            "Give the pods the subdomain of a headless service, which docs/workers.md describes."
        )
    base = name.removesuffix(index)
    return task_config([f"{base}{each}.{domain}:{FIRST_PORT}" for each in range(pods)], int(index))
