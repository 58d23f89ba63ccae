"""A training that says each step, and that can be made to stand still at one: it is interrupted
from outside then.

program.py RUN TOTAL [HOLD]
"""

import sys
import time
from pathlib import Path

import tensorflow as tf

import ckptkit
from ckptkit.session import remote_control

remote_control.PROGRESS_SECS = remote_control.LOOK_SECS = (
    0.05  # what is known after a kill is a minute old at most; a test does not wait that long
)

run, total, hold = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else 0
weight = tf.Variable(0.0)
manager = ckptkit.CheckpointManager(
    run, {"weight": weight}, save=ckptkit.EveryNSteps(20), keep=ckptkit.KeepLatest(3)
)
with manager:
    print("from", manager.position.step, flush=True)
    for step in manager.steps(total):
        while (
            hold and step == hold + 1 and not Path(run, "go").exists()
        ):  # `hold` is the last step that is done
            time.sleep(0.01)
        weight.assign_add(1.0)
        print("step", step, flush=True)
