"""A program with one loop after the other, of which each has further steps."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

import ckptkit


def leave_in_the_second_loop(directory: str, how: str) -> dict[str, Any]:
    """Two loops of 3 and 8 steps in one attempt; the second is left after step 5, and another
    attempt looks where it would go on.
    """
    weight = tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        directory, {"weight": weight}, save=ckptkit.EveryNSteps(1000)
    )
    code = None
    try:
        with manager:
            for total in (3, 8):
                for step in manager.steps(total):
                    if how == "break" and step == 6:
                        break
                    weight.assign_add(1.0)
                    if how == "stop" and step == 5:
                        manager.request_stop()
    except ckptkit.Preempted as preempted:
        code = preempted.code
    weight.assign(-1.0)
    outcome = [
        event.outcome
        for event in ckptkit.open_run(directory).journal
        if event.event == "attempt_ended"
    ]
    with manager:
        return {
            "code": code,
            "step": manager.position.step,
            "weight": float(weight),
            "outcome": outcome,
        }
