"""A training whose saves take two seconds each."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tensorflow as tf

import ckptkit
from tests.support.disks import Disk, starts_a_save

WRITE_SECS = 2.0


def hold_up(_: Path) -> None:
    Path("writes").touch()
    time.sleep(WRITE_SECS)


def main(run: str, grace_secs: float) -> None:
    weight = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        run,
        {"weight": weight},
        files=Disk().before(starts_a_save, hold_up),
        save=ckptkit.EveryNSteps(50),
        preemption=ckptkit.Preemption(grace_secs=grace_secs),
    )
    with manager:
        for step in manager.steps(100_000):
            weight.assign_add(1.0)
            time.sleep(0.05)
            if step == 60:
                manager.wait_until_finished()
                Path("writes").unlink()
                Path("continues").touch()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
