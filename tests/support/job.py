"""Starts the workers of a job on this machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any


def free_addresses(number: int) -> list[str]:
    """Addresses of this machine that nobody listens on."""
    with ExitStack() as stack:
        found = []
        for _ in range(number):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            found.append(f"127.0.0.1:{listener.getsockname()[1]}")
        return found


def task_config(addresses: Sequence[str], index: int) -> str:
    """TensorFlow's `TF_CONFIG` of one worker."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": task})


def start_job(
    start: Any, program: Any, options: Mapping[str, Any], workers: int = 2, **more: Any
) -> list[Any]:
    """Start all workers of a program.

    Args:
        start: the fixture `tf_process`.
        program: its path.
        options: its argument, as JSON.
        workers: how many.
        **more: passed on to `start`.
    """
    addresses = free_addresses(workers)
    return [
        start(
            program,
            json.dumps(dict(options)),
            env={
                **os.environ,
                "TF_CONFIG": task_config(addresses, index),
                "OMP_NUM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
            },
            **more,
        )
        for index in range(workers)
    ]
