"""Asking a training process for something from outside, on this machine or on another one, and waiting for the answer."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from typing import Literal

import click

from ckptkit.cli.runs import opened
from ckptkit.cli.text import plain
from ckptkit.errors import CheckpointError
from ckptkit.store.claims import RELEASED, Claim, list_claims
from ckptkit.store.control import ANY_ATTEMPT, Request, ask, new_id, read_request, withdraw
from ckptkit.store.events import AttemptEnded, Event, LaunchStarted, Requested, RequestServed, Saved, SaveDropped, SaveFailed
from ckptkit.store.files import FileSystem
from ckptkit.store.journal import read_attempt, read_journal
from ckptkit.store.layout import RunLayout
from ckptkit.store.lock import LEASE_SECS
from ckptkit.store.machine import this_machine
from ckptkit.store.presence import is_held

_LOOK_SECS = 0.2

timeout_option = click.option("--timeout", "timeout_secs", type=click.FloatRange(min=0), metavar="SECS",
                              help="How long to wait for the answer; by default for as long as it takes. The request stands all the same.")


class NobodyTrainsError(CheckpointError):
    """There is no process that could do it."""


class UnansweredError(CheckpointError):
    """It was not done, or not in time."""


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Args:
        done: whether the state is saved.
        words: in words.
        step: of the state.
    """

    done: bool
    words: str
    step: int


def asked(run: str, action: Literal["save", "stop"], timeout_secs: float | None) -> None:
    """Asks the process that trains a run, waits for it, and prints what came of it.

    Raises:
        NobodyTrainsError: where there is none.
        UnansweredError: where it was not done, or not in time.
        StorageError: where the run cannot be read, or not be written to.
    """
    layout, files = opened(run).layout, FileSystem()
    claim = _trainer(layout) if action == "save" else _trainer_or_none(files, layout, timeout_secs)
    if claim is None:
        return
    who = claim.owner or "a process that its claim does not name"
    request = _request(action, claim.number)
    ask(files, layout, request)
    click.echo(f"asked {plain(who)} to {'save' if action == 'save' else 'save and stop'}; waiting for a safe point", err=True)
    answer = _wait(files, layout, claim, request, timeout_secs)  # where nobody waits any more, the request stands
    withdraw(files, layout, request)
    if not answer.done:
        raise UnansweredError(answer.words)
    click.echo(answer.words)


def _trainer(layout: RunLayout) -> Claim:
    """The claim of the process that trains."""
    claims = list_claims(layout)
    if claims and claims[-1].sign != RELEASED and not _is_dead(claims[-1]):
        return claims[-1]
    raise NobodyTrainsError(f"Nobody trains the run in {layout.root}. Its newest checkpoint is what the next start goes on from.")


def _trainer_or_none(files: FileSystem, layout: RunLayout, timeout_secs: float | None) -> Claim | None:
    """The claim of the process that trains; None where a launcher was about to start one, and has been told to end instead."""
    began = time.monotonic()
    request: Request | None = None
    try:
        while True:
            try:
                return _trainer(layout)  # also where the launcher's training has opened the run meanwhile
            except NobodyTrainsError:
                launcher = _launcher(layout) if request is None else request.launcher
                if not launcher:
                    raise
            if request is None:
                request = _request("stop", ANY_ATTEMPT, launcher)
                ask(files, layout, request)
                click.echo("nobody trains; asked the launcher to end", err=True)
            heard = any(isinstance(event, Requested) and event.id == request.id for event in read_journal(layout).events)
            if not is_held(layout.launcher_journal(launcher)):
                if not heard:
                    raise NobodyTrainsError(f"Nobody trains the run in {layout.root}, and its launcher has ended.")
                click.echo("the launcher has ended, and starts no training")
                return None
            if timeout_secs is not None and time.monotonic() - began >= timeout_secs:
                raise UnansweredError(f"No answer within {timeout_secs:g} s; the request stands.")
            time.sleep(_LOOK_SECS)
    except UnansweredError:
        request = None  # it stands
        raise
    finally:
        if request is not None:
            withdraw(files, layout, request)


def _launcher(layout: RunLayout) -> str:
    """The id of a launcher of this machine that lives, between two starts or before its training has opened the run; empty where there is none."""
    ids = {event.launcher for event in read_journal(layout).events if isinstance(event, LaunchStarted)}
    return next((each for each in sorted(ids) if is_held(layout.launcher_journal(each))), "")


def _request(action: Literal["save", "stop"], attempt: int, launcher: str = "") -> Request:
    return Request(id=new_id(), action=action, attempt=attempt, at=time.time(), launcher=launcher,
                   source=f"ckptkit {action} ({socket.gethostname()}, process {os.getpid()})")


def _is_dead(claim: Claim) -> bool:
    owner = claim.owner
    return owner is not None and owner.machine.is_same(this_machine()) and claim.is_held() is False


def _wait(files: FileSystem, layout: RunLayout, claim: Claim, request: Request, timeout_secs: float | None) -> Answer:
    began, heard, sign = time.monotonic(), False, (claim.sign, time.monotonic())
    while True:
        gone = claim.sign == RELEASED or _is_dead(claim)  # before its last words are read
        told = list(read_attempt(layout, claim.number))
        number = next((index for index, event in enumerate(told) if isinstance(event, Requested) and event.id == request.id), None)
        if number is not None and not heard:
            heard = True
            click.echo("it has heard", err=True)
        answer = (saved_by(told[number:], request.id) if number is not None and request.action == "save" else None) or ended_by(told)
        if answer is not None:
            return answer
        if gone:
            return Answer(False, f"The process has ended without a word: killed? See ckptkit list {plain(layout.root)}.", 0)
        if not heard and (present := read_request(layout.request)) is not None and present.id != request.id and present.action == "save":
            ask(files, layout, request)  # another request took its place before it was read
        if timeout_secs is not None and time.monotonic() - began >= timeout_secs:
            raise UnansweredError(f"No answer within {timeout_secs:g} s; the request stands, and is served at the next safe point.")
        if claim.sign != sign[0]:
            sign = (claim.sign, time.monotonic())
        elif time.monotonic() - sign[1] > LEASE_SECS:
            raise UnansweredError(f"{claim.owner or 'Its process'} has given no sign of life for {LEASE_SECS:g} s: it was lost, or is cut off from "
                                  f"the storage. The request stands.")
        time.sleep(_LOOK_SECS)


def saved_by(told: list[Event], request_id: str) -> Answer | None:
    """What came of a request to save, by what was told since it was heard."""
    step = None
    for event in told:
        if isinstance(event, RequestServed) and event.id == request_id:
            step = event.step
        elif isinstance(event, Saved) and event.step == step:
            return Answer(True, f"saved {event.checkpoint} ({event.trigger})", event.step)
        elif isinstance(event, SaveFailed | SaveDropped) and event.step == step:
            why = event.message if isinstance(event, SaveFailed) else event.reason
            return Answer(False, f"Step {event.step} could not be saved: {why}", event.step)
    return None


def ended_by(told: list[Event]) -> Answer | None:
    """An attempt that is over has saved its state, unless an exception ended it."""
    ended = next((event for event in told if isinstance(event, AttemptEnded)), None)
    if ended is None:
        return None
    return Answer(ended.outcome != "failed", f"{ended.outcome} at step {ended.step}", ended.step)
