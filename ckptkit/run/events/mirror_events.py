"""Events of the mirror of a run on an object store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ckptkit.run.events.event import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirrored(Event):
    """A checkpoint is on the object store, which was confirmed after its commit there.

    `sent_bytes` of its `size_bytes` were sent; the rest was there already.
    """

    event: ClassVar[str] = "mirrored"
    checkpoint: str
    step: int
    size_bytes: int
    sent_bytes: int
    secs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadFailed(Event):
    """An upload to the object store failed; it is tried again while training continues."""

    event: ClassVar[str] = "upload_failed"
    checkpoint: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedFromStore(Event):
    """A checkpoint was fetched from the object store, because the directory did not have it."""

    event: ClassVar[str] = "fetched"
    checkpoint: str
    size_bytes: int
    secs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadDecided(Event):
    """Before the machine goes away: whether the newest checkpoint was uploaded in time."""

    event: ClassVar[str] = "upload_decided"
    action: str
    reason: str
