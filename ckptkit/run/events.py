"""What can happen to a run: one frozen dataclass for each kind of line in the journal.

A line carries the format's version, the event's name, the time (seconds since the epoch), the
attempt, and the fields below. Readers skip events and fields that they do not know, so that both
can be added.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ckptkit.run.manifest import Number

EVENT_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What all events have.

    Args:
        time: seconds since the epoch; the journal fills it in.
        attempt: number of the process, from 1; 0 is the launcher. The journal fills it in.
    """

    event: ClassVar[str] = ""
    time: float = 0.0
    attempt: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptStarted(Event):
    """A process opened the run to train. `process_started` is when that process began (seconds
    since the epoch), or null: where it has opened a run before, and where somebody sits at it, as
    at a notebook.
    """

    event: ClassVar[str] = "attempt_started"
    host: str
    pid: int
    program: str
    versions: dict[str, str] = field(default_factory=dict)
    scheduler: dict[str, str] = field(default_factory=dict)
    process_started: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptEnded(Event):
    """The process let go of the run in an orderly way; `outcome` is finished, stopped, preempted or
    failed, and `spent` is as in `progressed`.
    """

    event: ClassVar[str] = "attempt_ended"
    outcome: str
    step: int
    spent: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored(Event):
    """The state of a checkpoint was assigned."""

    event: ClassVar[str] = "restored"
    checkpoint: str
    step: int
    epoch: int
    batch: int
    secs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Inexact(Event):
    """The run cannot go on bit for bit after an interruption, and why."""

    event: ClassVar[str] = "inexact"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LogsRepaired(Event):
    """TensorBoard's files under `directory` were put in order for going on after `step`: `points`
    that are no part of the run any more were taken out of `files` files; `left` are those with
    which that could not be done, and why.
    """

    event: ClassVar[str] = "logs_repaired"
    directory: str
    step: int
    files: int
    points: int
    left: list[str] = field(default_factory=list)
    secs: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingStarted(Event):
    """The first training step of this attempt is about to run."""

    event: ClassVar[str] = "training_started"
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Progressed(Event):
    """Training has come to `step`: told about once a minute, where it has made a step since.
    `spent` are the seconds of the training thread since `attempt_started`, by what it did.
    """

    event: ClassVar[str] = "progressed"
    step: int
    spent: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved(Event):
    """A checkpoint was committed. Its state is that of `taken_at`, in seconds since the epoch."""

    event: ClassVar[str] = "saved"
    checkpoint: str
    step: int
    epoch: int
    batch: int
    trigger: str
    size_bytes: int
    snapshot_secs: float
    write_secs: float
    metrics: dict[str, Number] = field(default_factory=dict)
    final: bool = False
    taken_at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SaveDropped(Event):
    """A snapshot was not written, because a newer one took its place or for another reason that is
    said.
    """

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
    """The next checkpoint would not have fit, or the disk had refused it; what was `removed` to
    make room for it, in words.
    """

    event: ClassVar[str] = "space_short"
    step: int
    needed_bytes: int
    free_bytes: int | None
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForegroundSaves(Event):
    """Saves stop training for as long as they take, though they were to be written in the
    background, and why.
    """

    event: ClassVar[str] = "foreground_saves"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EmergencyDecided(Event):
    """What was done after a notice, by the time that was left: `save` the state of then, `finish`
    what was being written, `keep` the newest checkpoint, or `reserve`: the writer saved an older
    snapshot, because training did not come to a safe point.
    """

    event: ClassVar[str] = "emergency_decided"
    action: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenAway(Event):
    """A checkpoint was removed, and why."""

    event: ClassVar[str] = "taken_away"
    checkpoint: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TidyingFailed(Event):
    """Something beside a checkpoint could not be done: a removal, TensorFlow's state file, or lines
    of this journal. Training continues.
    """

    event: ClassVar[str] = "tidying_failed"
    what: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PassedOver(Event):
    """A checkpoint could not be used; it was moved, not deleted."""

    event: ClassVar[str] = "passed_over"
    checkpoint: str
    reason: str
    moved_to: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanedUp(Event):
    """Left-overs of a dead process were removed or put back."""

    event: ClassVar[str] = "cleaned_up"
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenOver(Event):
    """The run was taken from an owner on another machine that had given no sign of life; what that
    one saves from then on does not count.
    """

    event: ClassVar[str] = "taken_over"
    owner: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside(Event):
    """An earlier life was moved away, because a fresh start was asked for under `label`."""

    event: ClassVar[str] = "set_aside"
    label: str
    moved_to: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RolledBack(Event):
    """The run goes on from an older checkpoint, because somebody said so; the newer ones
    (`set_aside`) were moved, not deleted.
    """

    event: ClassVar[str] = "rolled_back"
    checkpoint: str
    step: int
    set_aside: list[str]
    moved_to: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HyperparameterChanged(Event):
    """The code configures another value than the run had, and how that was settled: `code` or
    `checkpoint`.
    """

    event: ClassVar[str] = "hyperparameter_changed"
    name: str
    then: str
    now: str
    settled: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalReceived(Event):
    """The process was told something by the system."""

    event: ClassVar[str] = "signal_received"
    signal: str
    phase: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NoticeReceived(Event):
    """A word that the machine will go away in `grace_secs`."""

    event: ClassVar[str] = "notice_received"
    source: str
    grace_secs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPreempted(Event):
    """Training stopped on a signal or a request, with its state saved at `step`."""

    event: ClassVar[str] = "preempted"
    step: int
    reason: str
    exit_code: int
    secs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed(Event):
    """Training ended with an exception; `restart` is false where starting again cannot help."""

    event: ClassVar[str] = "failed"
    error: str
    message: str
    step: int
    restart: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished(Event):
    """Training came to its end."""

    event: ClassVar[str] = "finished"
    step: int
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported(Event):
    """A SavedModel was published, of the state at `step`; `check_secs` of the `secs` were the
    check, and `proof` is its result in words.
    """

    event: ClassVar[str] = "exported"
    path: str
    step: int
    secs: float
    check_secs: float = 0.0
    proof: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFailed(Event):
    """A SavedModel could not be published; training and checkpoints are not affected."""

    event: ClassVar[str] = "export_failed"
    error: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Requested(Event):
    """Somebody asked this attempt to `save`, or to save and `stop`; it does so at its next safe
    point.
    """

    event: ClassVar[str] = "requested"
    id: str
    action: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestServed(Event):
    """The state at `step` is about to be saved because of a request; a `saved` of that step
    follows, or a `save_failed` or `save_dropped`.
    """

    event: ClassVar[str] = "request_served"
    id: str
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchStarted(Event):
    """A launcher is about to start the training for the `number`th time, with `step` committed;
    written, durably, before it does.
    """

    event: ClassVar[str] = "launch_started"
    launcher: str
    number: int
    host: str
    boot: str
    pid: int
    program: str
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchEnded(Event):
    """What the launcher has started is over, by its `cause`, with `step` committed; `inferred` by a
    later launcher where this one was lost, too. `last_lines` are the end of what an exception has
    printed. It had `trained` where it had made a step, and was `told` to go by a notice, a signal
    or somebody's wish. Its attempt, `of_attempt` (0 where that is not known), had `reached` this
    step, as it tells its launcher twice a second.
    """

    event: ClassVar[str] = "launch_ended"
    launcher: str
    number: int
    cause: str
    words: str
    exit_code: int | None
    signal: str
    step: int
    inferred: bool = False
    last_lines: list[str] = field(default_factory=list)
    trained: bool = True
    told: bool = False
    of_attempt: int = 0
    reached: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchDecided(Event):
    """What the launcher does after that: `restart` after `wait_secs`, or `stop` with an exit code;
    and why.
    """

    event: ClassVar[str] = "launch_decided"
    action: str
    exit_code: int
    wait_secs: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stalled(Event):
    """The training has made no step and no other progress for `secs`; its stacks are in the log."""

    event: ClassVar[str] = "stalled"
    secs: float
    phase: str
    step: int
    ended: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept(Event):
    """Processes that the training had left behind were ended."""

    event: ClassVar[str] = "swept"
    processes: list[str]


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
"""Every kind of event by its name."""
