"""A training whose saves take two seconds each."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tensorflow as tf

import ckptkit
from ckptkit.storage.files import FileSystem

WRITE_SECS = 2.0


class Slow(FileSystem):
    def make_dir(self, path: Path) -> None:
        if path.name.startswith(".writing"):
            Path("writes").touch()
            time.sleep(WRITE_SECS)
        super().make_dir(path)


def main(run: str, grace_secs: float) -> None:
    weight = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        run,
        {"weight": weight},
        files=Slow(),
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
                Path("goes on").touch()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
