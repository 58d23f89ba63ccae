"""Connects a worker with the others of its job, over TensorFlow's coordination service."""

from __future__ import annotations

from typing import Any

from ckptkit.compat.tf_coordination import CoordinationService
from ckptkit.errors import ConfigError
from ckptkit.workers.coordinated import Coordinated
from ckptkit.workers.job_members import member_of
from ckptkit.workers.pulse import Pulse

_jobs = 0
"""How many sessions of jobs this process has opened; a key of the job's store is used once."""


def joined(strategy: Any) -> tuple[Coordinated, Pulse]:
    """Return the cluster of the workers of a strategy, and what gives signs of life to it.

    Args:
        strategy: a `MultiWorkerMirroredStrategy`.

    Raises:
        ConfigError: If the service does not run, or the job has tasks that do not train.
    """
    global _jobs
    resolver = strategy.cluster_resolver
    tasks = resolver.cluster_spec().as_dict()
    member = member_of(tasks, resolver.task_type, resolver.task_id)
    service = CoordinationService()
    if not service.is_running():
        raise ConfigError(
            "Expected TensorFlow's coordination service, over which workers agree. Received: a "
            "MultiWorkerMirroredStrategy without it. Make the strategy before anything else, and "
            "do not turn the service off."
        )
    _jobs += 1
    prefix = f"ckptkit/{_jobs}"
    pulse = Pulse(member.rank, member.size, service, prefix)
    cluster = Coordinated(
        member.rank, member.size, service, prefix, pulse.check, on_watch=pulse.watch_all
    )
    return cluster, pulse
