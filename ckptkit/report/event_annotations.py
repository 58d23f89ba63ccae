"""Turns the events of an attempt into annotations on a time axis. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ckptkit.run import events as e
from ckptkit.run.events import Event


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A moment of an attempt that deserves a mark on the time axis.

    Args:
        time: seconds since the epoch.
        kind: `training` (its first step), `restored`, `saved`, `save_dropped`, `save_failed`,
            `passed_over` (a checkpoint that could not be used), `signal`, `notice`, `request`,
            `exported`, `export_failed`, `set_aside`, `taken_over`, `adopted`, `warm_started`;
            and last the outcome: `finished`, `preempted`, `stopped`, `failed`, `dead`.
        words: the moment in words. Text from the journal is unchanged and may hold any character.
        step: the step of the run at that moment, or None if unknown.
        checkpoint: the name of the checkpoint that it concerns, or empty.
    """

    time: float
    kind: str
    words: str
    step: int | None = None
    checkpoint: str = ""


def annotations_of(
    events: Sequence[Event], outcome: str, cause: str, end: float | None
) -> tuple[Annotation, ...]:
    """Return the annotations of an attempt.

    Args:
        events: the attempt's events.
        outcome, cause, end: how it ended; without an end there is no annotation for it.
    """
    annotations = [
        _ANNOTATORS[type(event)](event) for event in events if type(event) in _ANNOTATORS
    ]
    if end is not None:
        annotations.append(Annotation(time=end, kind=outcome, words=cause))
    return tuple(annotations)


def _training(event: e.TrainingStarted) -> Annotation:
    return Annotation(
        time=event.time,
        kind="training",
        words=f"training continues after step {event.step}" if event.step else "training begins",
        step=event.step,
    )


def _restored(event: e.Restored) -> Annotation:
    return Annotation(
        time=event.time,
        kind="restored",
        words=f"restored {event.checkpoint}",
        step=event.step,
        checkpoint=event.checkpoint,
    )


def _warm_started(event: e.WarmStarted) -> Annotation:
    return Annotation(
        time=event.time,
        kind="warm_started",
        words=f"began with {event.weights} {'averages' if event.averages else 'weights'} of "
        f"{event.name}{' and its optimizer' if event.optimizer else ''} from {event.source}"
        f"{f', {len(event.left_out)} left out' if event.left_out else ''}",
    )


def _adopted(event: e.Adopted) -> Annotation:
    return Annotation(
        time=event.time,
        kind="adopted",
        words=f"adopted the training of {event.system} in {event.source}",
        step=event.step,
    )


def _saved(event: e.Saved) -> Annotation:
    return Annotation(
        time=event.time,
        kind="saved",
        words=f"saved step {event.step}: {event.trigger}",
        step=event.step,
        checkpoint=event.checkpoint,
    )


def _dropped(event: e.SaveDropped) -> Annotation:
    return Annotation(
        time=event.time,
        kind="save_dropped",
        words=f"step {event.step} was not saved: {event.reason}",
        step=event.step,
    )


def _save_failed(event: e.SaveFailed) -> Annotation:
    return Annotation(
        time=event.time,
        kind="save_failed",
        words=f"step {event.step} could not be saved: {event.error}: {event.message}",
        step=event.step,
    )


def _passed_over(event: e.PassedOver) -> Annotation:
    return Annotation(
        time=event.time,
        kind="passed_over",
        words=f"{event.checkpoint} could not be used: {event.reason}",
        checkpoint=event.checkpoint,
    )


def _signal(event: e.SignalReceived) -> Annotation:
    return Annotation(time=event.time, kind="signal", words=f"{event.signal}, while {event.phase}")


def _notice(event: e.NoticeReceived) -> Annotation:
    return Annotation(
        time=event.time,
        kind="notice",
        words=f"the machine goes away in {event.grace_secs:g} s: {event.source}",
    )


def _request(event: e.Requested) -> Annotation:
    return Annotation(
        time=event.time, kind="request", words=f"asked to {event.action}: {event.source}"
    )


def _exported(event: e.Exported) -> Annotation:
    return Annotation(
        time=event.time,
        kind="exported",
        words=f"exported step {event.step} to {event.path}",
        step=event.step,
    )


def _export_failed(event: e.ExportFailed) -> Annotation:
    return Annotation(
        time=event.time,
        kind="export_failed",
        words=f"could not be exported: {event.error}: {event.message}",
    )


def _set_aside(event: e.SetAside) -> Annotation:
    return Annotation(
        time=event.time,
        kind="set_aside",
        words=f"a fresh start ({event.label}): earlier lives were set aside",
    )


def _taken_over(event: e.TakenOver) -> Annotation:
    return Annotation(time=event.time, kind="taken_over", words=f"taken over from {event.owner}")


_ANNOTATORS: dict[type[Event], Callable[..., Annotation]] = {
    e.TrainingStarted: _training,
    e.Restored: _restored,
    e.WarmStarted: _warm_started,
    e.Adopted: _adopted,
    e.Saved: _saved,
    e.SaveDropped: _dropped,
    e.SaveFailed: _save_failed,
    e.PassedOver: _passed_over,
    e.SignalReceived: _signal,
    e.NoticeReceived: _notice,
    e.Requested: _request,
    e.Exported: _exported,
    e.ExportFailed: _export_failed,
    e.SetAside: _set_aside,
    e.TakenOver: _taken_over,
}
