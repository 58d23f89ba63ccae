"""Loops that write event files, for `test_several_runs.py`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import tensorflow as tf

import ckptkit


def _loop(
    directory: str, name: str, total: int, leave_at: Callable[[int], bool] = lambda step: False
) -> None:
    """Trains a run whose event files are below the directory that all of them name; where it leaves
    the loop, it goes back.
    """
    weight, writer = tf.Variable(0.0), tf.summary.create_file_writer(f"{directory}/logs/{name}")
    with ckptkit.CheckpointManager(
        f"{directory}/runs/{name}",
        {"weight": weight},
        save=ckptkit.EveryNSteps(10),
        background=False,
        tensorboard=f"{directory}/logs",
    ) as manager:
        while True:
            for step in manager.steps(total):
                weight.assign_add(1.0)
                with writer.as_default():
                    tf.summary.scalar("loss", weight, step=step)
                writer.flush()
                if leave_at(step):
                    break
            else:
                break
            manager.restore()
    writer.close()


def sweep(directory: str, dies: bool) -> None:
    """Three runs, one after the other: the second fails, and the third is killed before its first
    save. After that all are started again.
    """
    _loop(directory, "first", 15)
    with suppress(InterruptedError):
        _loop(directory, "second", 30, lambda step: dies and step == 15 and _fails())
    _loop(directory, "third", 30, lambda step: dies and step == 5 and _killed())


def back(directory: str, stops: list[int]) -> None:
    """Restores its newest checkpoint after each of these steps, and is killed at the last one."""
    left = list(stops)

    def leave(step: int) -> bool:
        if not left or step != left[0]:
            return False
        left.pop(0)
        return bool(left) or _killed()

    _loop(directory, "back", 50, leave)


def out_of_reach(directory: str) -> int:
    """The directory of the event files cannot be looked at."""
    weight, name = tf.Variable(0.0), "a" * 300
    try:
        Path(directory, name).stat()
    except FileNotFoundError:
        raise AssertionError("this name is not too long here") from None
    except OSError:
        pass
    with ckptkit.CheckpointManager(
        f"{directory}/run", {"weight": weight}, tensorboard=f"{directory}/{name}"
    ) as manager:
        for _ in manager.steps(3):
            weight.assign_add(1.0)
    return int(weight)


def _fails() -> bool:
    raise InterruptedError


def _killed() -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True
