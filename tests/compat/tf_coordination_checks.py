"""Checks of `ckptkit/compat/tf_coordination.py`: one function for each name."""

from __future__ import annotations

import socket

import pytest
import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.core.protobuf import tensorflow_server_pb2
from tensorflow.python.eager import context

from ckptkit.compat import tf_coordination


def CoordinationService():
    service = tf_coordination.CoordinationService()
    assert not service.is_running()
    _join_a_job_of_one()
    assert service.is_running()
    assert service.put("run/a", "first")
    assert not service.put("run/a", "second"), "a key can be written once"
    assert service.get("run/a", 10.0) == "first"
    assert service.get("run/b", 0.05) is None
    service.put("run/b", "another")
    service.delete("run")
    assert service.get("run/a", 0.05) is service.get("run/b", 0.05) is None
    assert service.put("run/a", "third"), "a deleted key can be written again"


def is_lost_worker():
    lost = tf_coordination.is_lost_worker
    assert lost(tf.errors.UnavailableError(None, None, "Connection reset by peer"))
    assert lost(tf.errors.InternalError(None, None, "Collective ops is aborted by: ..."))
    assert not lost(tf.errors.InternalError(None, None, "a kernel has failed"))
    assert not lost(ValueError("Connection reset"))
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        tf.linalg.inv(tf.zeros([2, 2]))
    assert not lost(raised.value)


def _join_a_job_of_one():
    """Do as `MultiWorkerMirroredStrategy` does, which makes no service for a worker alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=1)],
    )
    server = tensorflow_server_pb2.ServerDef(
        protocol="grpc",
        job_name="worker",
        task_index=0,
        default_session_config=context.context().config,
    )
    server.cluster.job.add(name="worker").tasks[0] = address
    context.context().enable_collective_ops(server)
    context.ensure_initialized()
