"""Pauses an audited training at a step, so that the audit can interrupt it exactly there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from ckptkit.layout import RunLayout
from ckptkit.run.audit_settings import AuditInstructions, instructions_of
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.session.launcher_client import link
from ckptkit.session.phase import PhaseMachine, SessionPhase
from ckptkit.session.stopping import Stopping

_LOOK_SECS = 0.002


def audit_pause(
    phases: PhaseMachine, layout: RunLayout, stopping: Stopping, is_writing: Callable[[], bool]
) -> Callable[[int], None] | None:
    """Return the function that a session calls after each step; None if no audit pauses it.

    Args:
        phases: the phases of the session.
        layout: the layout of the run.
        stopping: the requests to stop.
        is_writing: returns whether a checkpoint is being written in the background.
    """
    instructions = instructions_of(os.environ)
    if (
        instructions is None
        or not instructions.hold_step
        or instructions.hold_run not in ("", os.path.realpath(layout.root))
    ):
        return None
    return _AuditPause(instructions, phases, layout, stopping, is_writing)


class _AuditPause:
    """Waits at a step until the audit removes its pause file, or until a stop is requested."""

    def __init__(
        self,
        instructions: AuditInstructions,
        phases: PhaseMachine,
        layout: RunLayout,
        stopping: Stopping,
        is_writing: Callable[[], bool],
    ) -> None:
        self._instructions, self._phases, self._layout = instructions, phases, layout
        self._stopping, self._is_writing = stopping, is_writing

    def __call__(self, step: int) -> None:
        client, file = link(), Path(self._instructions.hold)
        if step < self._instructions.hold_step or client is None or not file.exists():
            return
        with self._phases.during(SessionPhase.HELD):
            # A short training trains faster than its first checkpoint is written. Killed before
            # that, it would start again at step 0, and the audit would have tested no restore.
            while self._is_writing() and not list_checkpoints(self._layout):
                time.sleep(_LOOK_SECS)
            client.say(step=step, phase=SessionPhase.HELD.value)
            while file.exists() and not self._stopping.requested:
                time.sleep(_LOOK_SECS)
