"""The events of the journal: one frozen dataclass for each kind of line.

A line contains the format's version, the event's name, the time (seconds since the epoch), the
attempt, and the fields of its kind. Readers skip unknown events and fields, so both can be added.
The docstrings are the table in docs/format.md.
"""

from __future__ import annotations

from ckptkit.run.events.checkpoint_events import (
    CleanedUp,
    ForegroundSaves,
    PassedOver,
    RolledBack,
    Saved,
    SaveDropped,
    SaveFailed,
    SetAside,
    SpaceShort,
    TakenAway,
    TakenOver,
    TidyingFailed,
)
from ckptkit.run.events.event import EVENT_VERSION, Event
from ckptkit.run.events.launcher_events import (
    LaunchDecided,
    LaunchEnded,
    LaunchStarted,
    Stalled,
    Swept,
)
from ckptkit.run.events.stop_events import (
    EmergencyDecided,
    NoticeReceived,
    Requested,
    RequestServed,
    RunPreempted,
    SignalReceived,
)
from ckptkit.run.events.training_events import (
    AttemptEnded,
    AttemptStarted,
    Exported,
    ExportFailed,
    Failed,
    Finished,
    HyperparameterChanged,
    Inexact,
    LogsRepaired,
    Progressed,
    Restored,
    TrainingStarted,
)

EVENTS: dict[str, type[Event]] = {
    cls.event: cls
    for cls in (
        AttemptStarted,
        AttemptEnded,
        Restored,
        Inexact,
        LogsRepaired,
        TrainingStarted,
        Progressed,
        Saved,
        SaveDropped,
        SaveFailed,
        SpaceShort,
        ForegroundSaves,
        EmergencyDecided,
        TakenAway,
        TidyingFailed,
        PassedOver,
        CleanedUp,
        TakenOver,
        SetAside,
        RolledBack,
        HyperparameterChanged,
        SignalReceived,
        NoticeReceived,
        RunPreempted,
        Failed,
        Finished,
        Exported,
        ExportFailed,
        Requested,
        RequestServed,
        LaunchStarted,
        LaunchEnded,
        LaunchDecided,
        Stalled,
        Swept,
    )
}
"""All kinds of events by name, in the order of docs/format.md."""

__all__ = [
    "EVENTS",
    "EVENT_VERSION",
    "AttemptEnded",
    "AttemptStarted",
    "CleanedUp",
    "EmergencyDecided",
    "Event",
    "ExportFailed",
    "Exported",
    "Failed",
    "Finished",
    "ForegroundSaves",
    "HyperparameterChanged",
    "Inexact",
    "LaunchDecided",
    "LaunchEnded",
    "LaunchStarted",
    "LogsRepaired",
    "NoticeReceived",
    "PassedOver",
    "Progressed",
    "RequestServed",
    "Requested",
    "Restored",
    "RolledBack",
    "RunPreempted",
    "SaveDropped",
    "SaveFailed",
    "Saved",
    "SetAside",
    "SignalReceived",
    "SpaceShort",
    "Stalled",
    "Swept",
    "TakenAway",
    "TakenOver",
    "TidyingFailed",
    "TrainingStarted",
]
