"""The events of the journal: one frozen dataclass for each kind of line.

A line contains the format's version, the event's name, the time (seconds since the epoch), the
attempt, and the fields of its kind. Readers skip unknown events and fields, so both can be added.
The docstrings are the table in docs/format.md.

Every event is a name of this package. A new event needs only its class, in the file of its subject.
"""

from __future__ import annotations

from ckptkit.run.events import (
    checkpoint_events,
    launcher_events,
    mirror_events,
    request_events,
    training_events,
)
from ckptkit.run.events.checkpoint_events import *  # noqa: F403
from ckptkit.run.events.event import EVENT_VERSION as EVENT_VERSION
from ckptkit.run.events.event import Event as Event
from ckptkit.run.events.launcher_events import *  # noqa: F403
from ckptkit.run.events.mirror_events import *  # noqa: F403
from ckptkit.run.events.request_events import *  # noqa: F403
from ckptkit.run.events.training_events import *  # noqa: F403

EVENTS: dict[str, type[Event]] = {
    cls.event: cls
    for subject in (
        training_events,
        checkpoint_events,
        mirror_events,
        request_events,
        launcher_events,
    )
    for cls in vars(subject).values()
    if isinstance(cls, type) and issubclass(cls, Event) and cls is not Event
}
"""All kinds of events by name, in the order of docs/format.md."""
