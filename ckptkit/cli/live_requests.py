"""Asking a training process for something from outside, on this machine or on another one, and
waiting for the answer.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import click

from ckptkit.cli.plain_text import plain
from ckptkit.cli.run_arguments import opened
from ckptkit.errors import CheckpointError
from ckptkit.layout import RunLayout
from ckptkit.ownership.claims import RELEASED, Claim, list_claims
from ckptkit.ownership.machine import this_machine
from ckptkit.ownership.run_lock import LEASE_SECS
from ckptkit.run.catalog import list_checkpoints
from ckptkit.run.control_requests import (
    ANY_ATTEMPT,
    ControlRequest,
    ask,
    new_id,
    read_request,
    withdraw,
)
from ckptkit.run.events import (
    AttemptEnded,
    Event,
    Requested,
    RequestServed,
    Restored,
    Saved,
    SaveDropped,
    SaveFailed,
)
from ckptkit.run.journal import read_attempt
from ckptkit.run.launchers import Launcher, living_launcher
from ckptkit.storage.files import FileSystem

_LOOK_SECS = 0.2

timeout_option = click.option(
    "--timeout",
    "timeout_secs",
    type=click.FloatRange(min=0),
    metavar="SECS",
    help="How long to wait for the answer; by default for as long as it takes. The request stands "
    "all the same.",
)


class NobodyTrainsError(CheckpointError):
    """There is no process that could do it."""


class UnansweredError(CheckpointError):
    """It was not done, or not in time."""


@dataclass(frozen=True)
class RequestAnswer:
    """What came of a request.

    Args:
        done: whether the state is saved.
        words: in words.
        step: of the state.
        heard: whether it was done, or not, by somebody who knew of the request.
    """

    done: bool
    words: str
    step: int = 0
    heard: bool = False


def asked(run: str, action: Literal["save", "stop"], timeout_secs: float | None) -> None:
    """Asks the process that trains a run, waits for it, and prints what came of it.

    Raises:
        NobodyTrainsError: where there is none.
        UnansweredError: where it was not done, or not in time.
        StorageError: where the run cannot be read, or not be written to.
    """
    layout, files = opened(run).layout, FileSystem()
    launcher = living_launcher(layout) if action == "stop" else None
    if _trainer(layout) is None and launcher is None:
        raise NobodyTrainsError(
            f"Nobody trains the run in {layout.root}. Its newest checkpoint is what the next "
            "start goes on from."
        )
    request = ControlRequest(
        id=new_id(),
        action=action,
        attempt=ANY_ATTEMPT,
        at=time.time(),
        launcher=launcher.id if launcher is not None else "",
        source=f"ckptkit {action} ({socket.gethostname()}, process {os.getpid()})",
    )
    until = math.inf if timeout_secs is None else time.monotonic() + timeout_secs
    answer = _by_anyone(
        files, layout, request, launcher, until
    )  # where nobody waits any more, the request stands
    withdraw(files, layout, request)
    if not answer.done:
        raise UnansweredError(answer.words)
    click.echo(answer.words)


def _by_anyone(
    files: FileSystem,
    layout: RunLayout,
    request: ControlRequest,
    launcher: Launcher | None,
    until: float,
) -> RequestAnswer:
    """What comes of a request: by the process that trains, and by the launcher, where that one has
    ended in another way or there is none.
    """
    tried, last, since = (
        ANY_ATTEMPT,
        RequestAnswer(False, f"Nobody trains the run in {layout.root} any more"),
        time.monotonic(),
    )
    while True:
        over = launcher is None or launcher.has_ended  # before its last words are read
        claim = _trainer(layout)
        if claim is not None and claim.number != tried:
            tried = claim.number
            request = replace(request, attempt=tried)
            ask(files, layout, request)
            who = claim.owner or "a process that its claim does not name"
            click.echo(
                f"asked {plain(who)} to "
                f"{'save' if request.action == 'save' else 'save and stop'}; waiting for a safe "
                "point",
                err=True,
            )
            last = _by_process(files, layout, claim, request, launcher, until)
            since = time.monotonic()
            if last.done and (last.heard or launcher is None):
                return last
        elif launcher is None:
            return last
        else:
            present = read_request(layout.request)
            if present is None or (present.launcher, present.action) != (launcher.id, "stop"):
                ask(files, layout, request)
                click.echo("nobody trains; asked the launcher to end", err=True)
            heard = launcher.has_heard
            if over:
                last = (
                    ended_by(read_attempt(layout, tried), _newest_step(layout)) or last
                )  # of a process that the launcher has told
                words = "the launcher has ended, and starts no training"
                return RequestAnswer(
                    last.done or (heard and not last.heard),
                    words if heard and not tried else f"{last.words}; {words}",
                    last.step,
                )
            if not heard and not launcher.is_here and time.monotonic() - since > LEASE_SECS:
                raise UnansweredError(
                    f"The launcher on {launcher.host} has given no word for {LEASE_SECS:g} s: it "
                    "was lost, or is cut off from the "
                    f"storage. The request stands."
                )
            _wait_a_little(until)


def _newest_step(layout: RunLayout) -> int | None:
    checkpoints = list_checkpoints(layout)
    return checkpoints[-1].name.step if checkpoints else None


def _trainer(layout: RunLayout) -> Claim | None:
    """The claim of the process that trains."""
    claims = list_claims(layout)
    return (
        claims[-1] if claims and claims[-1].sign != RELEASED and not _is_dead(claims[-1]) else None
    )


def _is_dead(claim: Claim) -> bool:
    owner = claim.owner
    return owner is not None and owner.machine.is_same(this_machine()) and claim.is_held() is False


def _wait_a_little(until: float) -> None:
    if time.monotonic() >= until:
        raise UnansweredError(
            "No answer in the time that was given; the request stands, and is served at the next "
            "safe point."
        )
    time.sleep(_LOOK_SECS)


def _by_process(
    files: FileSystem,
    layout: RunLayout,
    claim: Claim,
    request: ControlRequest,
    launcher: Launcher | None,
    until: float,
) -> RequestAnswer:
    """What comes of a request by one process."""
    heard, sign = False, (claim.sign, time.monotonic())
    while True:
        gone = (
            claim.sign == RELEASED or _is_dead(claim) or _has_a_successor(layout, claim, launcher)
        )  # before its last words are read
        told = read_attempt(layout, claim.number)
        number = next(
            (
                index
                for index, event in enumerate(told)
                if isinstance(event, Requested) and event.id == request.id
            ),
            None,
        )
        if number is not None and not heard:
            heard = True
            click.echo("it has heard", err=True)
        answer = (
            saved_by(told[number:], request.id)
            if number is not None and request.action == "save"
            else None
        )
        answer = answer or ended_by(told, _newest_step(layout))
        if answer is not None:
            return replace(answer, heard=heard)
        if gone:
            return RequestAnswer(
                False,
                "The process has ended without a word: killed? See ckptkit list "
                f"{plain(layout.root)}",
                heard=heard,
            )
        if (
            not heard
            and (present := read_request(layout.request)) is not None
            and present.id != request.id
            and present.action == "save"
        ):
            ask(files, layout, request)  # another request took its place before it was read
        if claim.sign != sign[0]:
            sign = (claim.sign, time.monotonic())
        elif time.monotonic() - sign[1] > LEASE_SECS:
            raise UnansweredError(
                f"{claim.owner or 'Its process'} has given no sign of life for {LEASE_SECS:g} s: "
                "it was lost, or is cut off from "
                f"the storage. The request stands."
            )
        _wait_a_little(until)


def _has_a_successor(layout: RunLayout, claim: Claim, launcher: Launcher | None) -> bool:
    """Whether the run is another process's by now; or its launcher's, which takes requests only
    where its training has none, or not yet.
    """
    claims = list_claims(layout)
    return bool(claims and claims[-1].number > claim.number) or (
        launcher is not None and launcher.has_heard
    )


def saved_by(told: Sequence[Event], request_id: str) -> RequestAnswer | None:
    """What came of a request to save, by what was told since it was heard."""
    step = None
    for event in told:
        if isinstance(event, RequestServed) and event.id == request_id:
            step = event.step
        elif isinstance(event, Saved) and event.step == step:
            return RequestAnswer(True, f"saved {event.checkpoint} ({event.trigger})", event.step)
        elif isinstance(event, SaveFailed | SaveDropped) and event.step == step:
            why = event.message if isinstance(event, SaveFailed) else event.reason
            return RequestAnswer(False, f"Step {event.step} could not be saved: {why}", event.step)
    return None


def ended_by(told: Sequence[Event], newest: int | None = None) -> RequestAnswer | None:
    """What came of it where the attempt is over: its state is saved where its newest checkpoint is
    of the step that it had come to.

    It may not be: where there was no time for it before the machine went away, after a second
    Ctrl-C, or where the program was left by `sys.exit`. A run that has made no step has nothing to
    save.

    Args:
        told: the attempt's part of the journal.
        newest: the step of the run's newest checkpoint, for an attempt that has told of none: it
            may have ended on its way to where the run was.
    """
    ended = next((event for event in told if isinstance(event, AttemptEnded)), None)
    if ended is None:
        return None
    newest = next(
        (event.step for event in reversed(told) if isinstance(event, Saved | Restored)), newest
    )
    words = f"{ended.outcome} at step {ended.step}"
    if ended.step == (newest or 0):
        return RequestAnswer(ended.outcome != "failed", words, ended.step)
    left = (
        f"the newest checkpoint is of step {newest}"
        if newest is not None
        else "there is no checkpoint"
    )
    heard = (
        ended.outcome != "failed"
        # a word of its own, also where a launcher had told it; what an exception ended may know of
        # no
        # request
    )
    return RequestAnswer(False, f"{words}, which was not saved; {left}", ended.step, heard=heard)
