"""Opens a session: of a process that trains alone, or of one worker of a job.

Only the first worker opens the run. The others have a private directory for the life of their
session, which holds what a session keeps on a disk. Before anything is written, all workers compare
what they are about to train.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ckptkit.errors import ConfigError, WorkerLost
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.policies.anchor_policies import AnchorPolicy, PositionCosts, PositionForm
from ckptkit.run.launcher_channel import Failure
from ckptkit.session.job_connection import joined
from ckptkit.session.job_description import describe_job
from ckptkit.session.job_option_check import check_job_options, check_no_request
from ckptkit.session.launcher_failure_report import error_of_first, failure_of
from ckptkit.session.options import RunOptions
from ckptkit.session.private_directory import private_directory
from ckptkit.session.session import Session
from ckptkit.tracking.strategy_check import job_strategy
from ckptkit.workers.cluster import Cluster
from ckptkit.workers.job_members import check_alike

OPENING_SECS = 600.0
"""Seconds within which all workers open the run: data may be prepared on one of them first."""


@dataclass(frozen=True)
class _Opened:
    """How the first worker has opened the run: the number of its attempt, or why it failed."""

    attempt: int = 0
    failure: Failure | None = None


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
    check_job_options(options)
    cluster, pulse = joined(strategy)

    def leave() -> None:
        pulse.close()
        cluster.close()

    try:
        cluster.start()
        pulse.start()
        _compare(cluster, options, strategy)
        pulse.watch_all(True)
        if cluster.rank == 0:
            return _open_first(options, cluster, leave)
        return _open_other(options, cluster, leave)
    except BaseException as error:
        if isinstance(error, WorkerLost):
            logger.error("%s: this process ends with code %d", error, error.code)
        cluster.end(f"{type(error).__name__}: {error}")
        leave()
        raise


def _compare(cluster: Cluster, options: RunOptions, strategy: Any) -> None:
    """Compare what all workers are about to train."""
    name = f"{socket.gethostname()}, process {os.getpid()}"
    mine = {"name": name, "what": describe_job(options, strategy)}
    found = cluster.gather("members", json.dumps(mine).encode(), OPENING_SECS)
    there = [json.loads(each) for each in found]
    check_alike([each["what"] for each in there], [each["name"] for each in there])


def _open_first(options: RunOptions, cluster: Cluster, leave: Callable[[], None]) -> Session:
    try:
        check_no_request(options)
        session = Session(options, cluster).start(leave)
    except Exception as error:
        cluster.put("opened", msgspec.json.encode(_Opened(failure=failure_of(error))))
        raise
    cluster.put("opened", msgspec.json.encode(_Opened(attempt=session.journal.attempt)))
    return session


def _open_other(options: RunOptions, cluster: Cluster, leave: Callable[[], None]) -> Session:
    told = msgspec.json.decode(cluster.get("opened", OPENING_SECS), type=_Opened)
    if told.failure is not None:
        raise error_of_first(told.failure, "open the run")
    private, remove = private_directory(cluster.rank)
    logger.info(
        "worker %d of %d: worker 0 saves attempt %d", cluster.rank, cluster.size, told.attempt
    )
    own = replace(
        options,
        layout=RunLayout(private / options.layout.root.name),
        anchors=StatesInCheckpoint(),
        fresh=None,
        tensorboard=None,
    )

    def remove_and_leave() -> None:
        leave()
        remove()

    return Session(own, cluster).start(remove_and_leave)


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
