"""Journals that are made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ckptkit.report.attempt_ledger import Ledger
from ckptkit.report.goodput import Goodput, goodput_of
from ckptkit.report.ledger_builder import ledger_of
from ckptkit.run.events import AttemptStarted, Event, LaunchEnded, LaunchStarted, Saved
from ckptkit.run.journal import LAUNCHER

Told = tuple[float, Event]


def journal(*told: tuple[int, Iterable[Told]]) -> list[Event]:
    """The events of several attempts, each with its number and what it tells when."""
    return [
        replace(event, time=float(time), attempt=attempt)
        for attempt, lines in told
        for time, event in lines
    ]


def started(host: str = "node7", **more: object) -> AttemptStarted:
    return AttemptStarted(host=host, pid=4711, program="train.py", **more)  # type: ignore[arg-type]


def saved(
    step: int,
    attempt: int = 1,
    *,
    snapshot_secs: float = 0.0,
    write_secs: float = 0.0,
    taken_at: float | None = None,
    final: bool = False,
) -> Saved:
    return Saved(
        checkpoint=f"ckpt-{step}-{attempt}",
        step=step,
        epoch=0,
        batch=step,
        trigger="every 10 steps",
        size_bytes=1000,
        snapshot_secs=snapshot_secs,
        write_secs=write_secs,
        taken_at=taken_at,
        final=final,
    )


def launched(number: int = 1) -> LaunchStarted:
    return LaunchStarted(
        launcher="abc", number=number, host="node7", boot="b", pid=1, program="train.py", step=0
    )


def launch_over(
    number: int = 1,
    *,
    cause: str = "signal",
    words: str = "was ended by SIGKILL",
    of_attempt: int = 0,
    reached: int | None = None,
    inferred: bool = False,
) -> LaunchEnded:
    return LaunchEnded(
        launcher="abc",
        number=number,
        cause=cause,
        words=words,
        exit_code=None,
        signal="",
        step=0,
        of_attempt=of_attempt,
        reached=reached,
        inferred=inferred,
    )


def ledger(events: list[Event], *, now: float = 10_000.0, runs: bool = False) -> Ledger:
    """Their ledger, on the machine of the attempts."""
    return ledger_of(events, now, host="node7", is_running=lambda started: runs)


def goodput(events: list[Event], *, now: float = 10_000.0, runs: bool = False) -> Goodput:
    """Their goodput."""
    found = goodput_of(ledger(events, now=now, runs=runs))
    assert found is not None
    return found


def parts(events: list[Event], *, now: float = 10_000.0, runs: bool = False) -> dict[str, float]:
    """Their wall time by what it went into, without what took none."""
    found = goodput(events, now=now, runs=runs)
    return {
        kind: secs
        for kind, secs in {"productive": found.productive_secs, **found.badput_secs}.items()
        if secs
    }


__all__ = [
    "LAUNCHER",
    "goodput",
    "journal",
    "launch_over",
    "launched",
    "ledger",
    "parts",
    "saved",
    "started",
]
