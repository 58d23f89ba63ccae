"""A training that is audited waits at a step, so that what interrupts it comes at that step and at
no other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ckptkit.layout import RunLayout
from ckptkit.run.audit_orders import HELD, Orders, orders_of
from ckptkit.session.launcher_client import link
from ckptkit.session.stopping import Stopping

_LOOK_SECS = 0.002


class PausedTraining(Protocol):
    """What is known of an attempt."""

    phase: str


def hold_of(
    training: PausedTraining, layout: RunLayout, stopping: Stopping
) -> Callable[[int], None]:
    """What an attempt calls when it has come to a step; without an audit that does nothing."""
    orders = orders_of(os.environ)
    if (
        orders is None
        or not orders.hold_step
        or orders.hold_run not in ("", os.path.realpath(layout.root))
    ):
        return lambda step: None
    return _AuditPause(orders, training, stopping)


class _AuditPause:
    def __init__(self, orders: Orders, training: PausedTraining, stopping: Stopping) -> None:
        self._orders, self._training, self._stopping = orders, training, stopping

    def __call__(self, step: int) -> None:
        known, file = link(), Path(self._orders.hold)
        if step < self._orders.hold_step or known is None or not file.exists():
            return
        before, self._training.phase = self._training.phase, HELD
        known.say(step=step, phase=HELD)
        while file.exists() and not self._stopping.requested:
            time.sleep(_LOOK_SECS)
        self._training.phase = before
