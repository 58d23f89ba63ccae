"""Events about signals, notices and requests that make an attempt save or stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ckptkit.run.events.event import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalReceived(Event):
    """The process received a signal."""

    event: ClassVar[str] = "signal_received"
    signal: str
    phase: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NoticeReceived(Event):
    """A notice said that the machine will go away in `grace_secs` seconds."""

    event: ClassVar[str] = "notice_received"
    source: str
    grace_secs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EmergencyDecided(Event):
    """What was done after a notice, depending on the time that was left.

    `save` saved the current state, `finish` completed the save in progress, `keep` saved nothing
    more. `reserve` saved an earlier snapshot, because training reached no safe point.
    """

    event: ClassVar[str] = "emergency_decided"
    action: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPreempted(Event):
    """Training stopped because of a signal or a request, with its state saved at `step`."""

    event: ClassVar[str] = "preempted"
    step: int
    reason: str
    exit_code: int
    secs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Requested(Event):
    """A user or program asked this attempt to `save`, or to save and `stop`.

    It does so at its next safe point.
    """

    event: ClassVar[str] = "requested"
    id: str
    action: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestServed(Event):
    """The state at `step` is about to be saved because of a request.

    A `saved`, `save_failed` or `save_dropped` event of that step follows.
    """

    event: ClassVar[str] = "request_served"
    id: str
    step: int
