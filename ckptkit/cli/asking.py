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
from ckptkit.store.control import Request, ask, new_id, read_request, withdraw
from ckptkit.store.events import AttemptEnded, Event, Requested, RequestServed, Saved, SaveDropped, SaveFailed
from ckptkit.store.files import FileSystem
from ckptkit.store.journal import read_attempt
from ckptkit.store.layout import RunLayout
from ckptkit.store.lock import LEASE_SECS
from ckptkit.store.machine import this_machine

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
    claim = _trainer(layout)
    who = claim.owner or "a process that its claim does not name"
    request = Request(id=new_id(), action=action, attempt=claim.number, at=time.time(),
                      source=f"ckptkit {action} ({socket.gethostname()}, process {os.getpid()})")
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
