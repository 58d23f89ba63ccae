"""Pauses an audited training at a step, so that the audit can interrupt it exactly there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from ckptkit.layout import RunLayout
from ckptkit.run.audit_instructions import Orders, orders_of
from ckptkit.session.launcher_client import link
from ckptkit.session.phase import PhaseMachine, SessionPhase
from ckptkit.session.stopping import Stopping

_LOOK_SECS = 0.002


def audit_pause(
    phases: PhaseMachine, layout: RunLayout, stopping: Stopping
) -> Callable[[int], None] | None:
    """Return the function that a session calls after each step; None if no audit pauses it."""
    orders = orders_of(os.environ)
    if (
        orders is None
        or not orders.hold_step
        or orders.hold_run not in ("", os.path.realpath(layout.root))
    ):
        return None
    return _AuditPause(orders, phases, stopping)


class _AuditPause:
    """Waits at a step until the audit removes its pause file, or until a stop is requested."""

    def __init__(self, orders: Orders, phases: PhaseMachine, stopping: Stopping) -> None:
        self._orders, self._phases, self._stopping = orders, phases, stopping

    def __call__(self, step: int) -> None:
        client, file = link(), Path(self._orders.hold)
        if step < self._orders.hold_step or client is None or not file.exists():
            return
        with self._phases.during(SessionPhase.HELD):
            client.say(step=step, phase=SessionPhase.HELD.value)
            while file.exists() and not self._stopping.requested:
                time.sleep(_LOOK_SECS)
