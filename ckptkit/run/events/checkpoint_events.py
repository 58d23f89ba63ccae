"""Events of checkpoints: saved, failed, removed, moved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ckptkit.run.events.event import Event
from ckptkit.run.manifest import Number


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved(Event):
    """A checkpoint was committed.

    Its snapshot was taken at `taken_at`, in seconds since the epoch. `shared_bytes` of its
    `size_bytes` are in files that an earlier checkpoint has too.
    """

    event: ClassVar[str] = "saved"
    checkpoint: str
    step: int
    epoch: int
    batch: int
    trigger: str
    size_bytes: int
    snapshot_secs: float
    write_secs: float
    shared_bytes: int = 0
    metrics: dict[str, Number] = field(default_factory=dict)
    final: bool = False
    taken_at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SaveDropped(Event):
    """A snapshot was not written, because a newer one replaced it or for another `reason`."""

    event: ClassVar[str] = "save_dropped"
    step: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SaveFailed(Event):
    """A save could not be committed; earlier checkpoints are untouched."""

    event: ClassVar[str] = "save_failed"
    step: int
    error: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceShort(Event):
    """The next checkpoint would not have fit, or the disk had refused it.

    `removed` lists what was removed to make room.
    """

    event: ClassVar[str] = "space_short"
    step: int
    needed_bytes: int
    free_bytes: int | None
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForegroundSaves(Event):
    """Saves stop training while they are written, although `background=True`.

    `reason` says why.
    """

    event: ClassVar[str] = "foreground_saves"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenAway(Event):
    """A checkpoint was removed; `reason` says why."""

    event: ClassVar[str] = "taken_away"
    checkpoint: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TidyingFailed(Event):
    """An operation failed that no checkpoint depends on, and training continues.

    It was a removal, TensorFlow's state file, or lines of this journal.
    """

    event: ClassVar[str] = "tidying_failed"
    what: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedOver(Event):
    """A checkpoint could not be used; it was moved, not deleted.

    `moved_to` is empty if it could not be moved.
    """

    event: ClassVar[str] = "passed_over"
    checkpoint: str
    reason: str
    moved_to: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanedUp(Event):
    """Leftovers of a killed process were removed or restored."""

    event: ClassVar[str] = "cleaned_up"
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenOver(Event):
    """The run was taken over from an owner on another machine that gave no sign of life.

    Later saves of that owner do not count.
    """

    event: ClassVar[str] = "taken_over"
    owner: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside(Event):
    """All earlier checkpoints were moved to `aside/` for a fresh start under `label`."""

    event: ClassVar[str] = "set_aside"
    label: str
    moved_to: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RolledBack(Event):
    """The run continues from an older checkpoint, at the user's request.

    Newer checkpoints (`set_aside`) were moved, not deleted.
    """

    event: ClassVar[str] = "rolled_back"
    checkpoint: str
    step: int
    set_aside: list[str]
    moved_to: str
