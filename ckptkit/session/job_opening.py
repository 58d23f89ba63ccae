"""Opens a session: of a process that trains alone, or of one worker of a job.

Only the first worker opens the run. The others have a private directory for the life of their
session, which holds what a session keeps on a disk. Before anything is written, all workers compare
what they are about to train.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ckptkit.compat.tf_coordination import CoordinationService
from ckptkit.errors import CheckpointError, ConfigError, WorkerLost
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.policies.anchor_policies import AnchorPolicy, PositionCosts, PositionForm
from ckptkit.session.job_description import describe_job
from ckptkit.session.options import RunOptions
from ckptkit.session.session import Session
from ckptkit.tracking.strategy_check import job_strategy
from ckptkit.workers.cluster import Cluster
from ckptkit.workers.coordinated import Coordinated
from ckptkit.workers.job_members import check_alike, member_of
from ckptkit.workers.pulse import Pulse

OPENING_SECS = 600.0
"""Seconds within which all workers open the run: data may be prepared on one of them first."""

_jobs = 0
"""How many sessions of jobs this process has opened; a key of the job's store is used once."""


class StatesInCheckpoint(AnchorPolicy):
    """Saves the state of each iterator with the rest, because other files are not sent."""

    def form(self, costs: PositionCosts) -> PositionForm:
        """Return how a save stores the position; see `AnchorPolicy`."""
        return "state"


def start_session(options: RunOptions) -> Session:
    """Open a run, together with the other workers if there are any.

    Args:
        options: the options of the run.

    Raises:
        ConfigError: If other workers train something else, or the state belongs to no strategy
            although the environment names several workers. Otherwise as `Session.start`.
        WorkersLateError: If another worker does not open the run in time.
        WorkerLost: If another worker has ended.
    """
    strategy = job_strategy(options.state)
    if strategy is None:
        _check_alone(os.environ)
        return Session(options).start()
    cluster, pulse = _joined(strategy)
    try:
        pulse.start()
        _compare(cluster, options, strategy)
        pulse.expect_all()
        if cluster.rank == 0:
            return _open_first(options, cluster, pulse)
        return _open_other(options, cluster, pulse)
    except BaseException as error:
        cluster.end(f"{type(error).__name__}: {error}")
        pulse.close()
        raise


def _joined(strategy: Any) -> tuple[Coordinated, Pulse]:
    """Return the cluster of the workers of a strategy, and what gives signs of life to it."""
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
    return Coordinated(member.rank, member.size, service, prefix, pulse.check), pulse


def _compare(cluster: Cluster, options: RunOptions, strategy: Any) -> None:
    """Compare what all workers are about to train."""
    name = f"{socket.gethostname()}, process {os.getpid()}"
    mine = {"name": name, "what": describe_job(options, strategy)}
    found = cluster.gather("members", json.dumps(mine).encode(), OPENING_SECS)
    there = [json.loads(each) for each in found]
    check_alike([each["what"] for each in there], [each["name"] for each in there])


def _open_first(options: RunOptions, cluster: Cluster, pulse: Pulse) -> Session:
    try:
        session = Session(options, cluster).start(pulse.close)
    except CheckpointError as error:
        told = {"kind": type(error).__name__, "message": str(error)}
        cluster.put("opened", msgspec.json.encode(told))
        raise
    cluster.put("opened", msgspec.json.encode({"attempt": session.journal.attempt}))
    return session


def _open_other(options: RunOptions, cluster: Cluster, pulse: Pulse) -> Session:
    told = msgspec.json.decode(cluster.get("opened", OPENING_SECS))
    if "kind" in told:
        # As a ConfigError, so that this worker is not started again if the first one is not.
        message = f"Worker 0 could not open the run: {told['kind']}: {told['message']}"
        permanent = told["kind"] in ("ConfigError", "RunLockedError", "IncompatibleStateError")
        raise ConfigError(message) if permanent else WorkerLost(message)
    private = Path(tempfile.mkdtemp(prefix=f"ckptkit-worker-{cluster.rank}-"))
    logger.info(
        "worker %d of %d: worker 0 saves attempt %d", cluster.rank, cluster.size, told["attempt"]
    )
    own = replace(
        options,
        layout=RunLayout(private / options.layout.root.name),
        anchors=StatesInCheckpoint(),
        fresh=None,
        tensorboard=None,
    )

    def leave() -> None:
        pulse.close()
        shutil.rmtree(private, ignore_errors=True)

    return Session(own, cluster).start(leave)


def _check_alone(environment: Mapping[str, str]) -> None:
    """Check that a process whose state has no strategy of several workers trains alone.

    Raises:
        ConfigError: If it is one of several workers.
    """
    try:
        tasks = json.loads(environment.get("TF_CONFIG") or "{}").get("cluster") or {}
        count = sum(len(tasks.get(kind, ())) for kind in ("chief", "master", "worker", "ps"))
    except (ValueError, AttributeError, TypeError):
        return  # TensorFlow itself reports the error in it
    if count > 1:
        raise ConfigError(
            f"TF_CONFIG names {count} processes that train together, but nothing in the state was "
            "made under tf.distribute.MultiWorkerMirroredStrategy. Make the model and the "
            "optimizer inside of strategy.scope(), or unset TF_CONFIG and train in one process."
        )
