"""`ckptkit save` and `ckptkit stop`: send a request to a running training and wait for the answer.

The request is a file in the run directory, so it reaches a process on another machine as well. The
answer is read from the journal of the attempt.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import click

from ckptkit.cli.checkpoint_lookup import open_named_run
from ckptkit.cli.console import print_json
from ckptkit.cli.plain_text import plain
from ckptkit.cli.request_answers import RequestAnswer, answer_by_end, answer_to_save
from ckptkit.errors import CheckpointError
from ckptkit.layout import RunLayout
from ckptkit.ownership.claims import RELEASED, Claim, list_claims
from ckptkit.ownership.machine_identity import this_machine
from ckptkit.ownership.run_lock import LEASE_SECS
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.control_requests import (
    ANY_ATTEMPT,
    ControlRequest,
    ask,
    new_id,
    read_request,
    withdraw,
)
from ckptkit.run.events import Event, Requested
from ckptkit.run.journal_reader import read_attempt
from ckptkit.run.launcher_liveness import Launcher, living_launcher
from ckptkit.storage.files import FileSystem

_POLL_SECS = 0.2

timeout_option = click.option(
    "--timeout",
    "timeout_secs",
    type=click.FloatRange(min=0),
    metavar="SECS",
    help="How long to wait for the answer; without it, there is no limit. The request stays in "
    "place after the timeout.",
)


class NotTrainingError(CheckpointError):
    """No process trains the run, so nothing can serve the request."""


class RequestFailedError(CheckpointError):
    """The request was not served, or not in time."""


def send_request(
    run: str, action: Literal["save", "stop"], timeout_secs: float | None, *, as_json: bool
) -> None:
    """Ask the process that trains a run to save or stop, and print the answer.

    Args:
        run: the run directory.
        action: what to ask for.
        timeout_secs: how long to wait for the answer; None for no limit.
        as_json: whether to print the answer as JSON.

    Raises:
        NotTrainingError: If no process trains the run.
        RequestFailedError: If the request was not served, or not in time.
        StorageError: If the run cannot be read, or cannot be written to.
    """
    layout, files = open_named_run(run).layout, FileSystem()
    launcher = living_launcher(layout) if action == "stop" else None
    if _training_claim(layout) is None and launcher is None:
        raise NotTrainingError(
            f"No process trains the run in {layout.root}, so nothing can {action} it. The next "
            "start resumes from its newest checkpoint."
        )
    request = ControlRequest(
        id=new_id(),
        action=action,
        attempt=ANY_ATTEMPT,
        at=time.time(),
        launcher=launcher.id if launcher is not None else "",
        source=f"ckptkit {action} ({socket.gethostname()}, process {os.getpid()})",
    )
    deadline = math.inf if timeout_secs is None else time.monotonic() + timeout_secs
    answer = _RequestExchange(files, layout, request, launcher, deadline).await_answer()
    # Only an answered request is withdrawn. After a timeout it stays, and is served later.
    withdraw(files, layout, request)
    if not answer.done:
        raise RequestFailedError(answer.words)
    if as_json:
        print_json({"run": run, "action": action, "step": answer.step, "words": answer.words})
    else:
        click.echo(answer.words)


class _RequestExchange:
    """Sends one request to the training or its launcher, and waits for the answer.

    Args:
        files: writes the request.
        layout: the run.
        request: the request.
        launcher: the launcher to ask as well, or None.
        deadline: when to give up, by the monotonic clock.
    """

    def __init__(
        self,
        files: FileSystem,
        layout: RunLayout,
        request: ControlRequest,
        launcher: Launcher | None,
        deadline: float,
    ) -> None:
        self._files, self._layout = files, layout
        self._request, self._launcher = request, launcher
        self._deadline = deadline

    def await_answer(self) -> RequestAnswer:
        """Ask each process that trains the run, and then the launcher, until one has answered.

        The training may end for another reason first, or may not have opened the run yet. Then the
        launcher must not start another training.
        """
        launcher = self._launcher
        tried = ANY_ATTEMPT
        last = RequestAnswer(False, f"No process trains the run in {self._layout.root} any more")
        quiet_since = time.monotonic()
        while True:
            # Looked up before its journal is read: a launcher that ends in between has written
            # its last line already, so that line is not missed.
            launcher_ended = launcher is None or launcher.has_ended
            claim = _training_claim(self._layout)
            if claim is not None and claim.number != tried:
                tried = claim.number
                last = self._ask_process(claim)
                quiet_since = time.monotonic()
                if last.done and (last.received or launcher is None):
                    return last
                continue
            if launcher is None:
                return last
            self._ask_launcher(launcher)
            received = launcher.has_heard
            if launcher_ended:
                return self._answer_of_launcher(tried, last, received)
            # The kernel knows whether a launcher on this machine runs. On another machine, only
            # silence in its journal shows that it is lost.
            if (
                not received
                and not launcher.is_here
                and time.monotonic() - quiet_since > LEASE_SECS
            ):
                raise RequestFailedError(
                    f"The launcher on {launcher.host} has not answered for {LEASE_SECS:g} s: its "
                    "machine was lost, or cannot reach the storage. The request stands. Look at "
                    "that machine, or start the run again."
                )
            self._sleep()

    def _ask_process(self, claim: Claim) -> RequestAnswer:
        self._request = replace(self._request, attempt=claim.number)
        ask(self._files, self._layout, self._request)
        owner = claim.owner or "an unknown process"
        what = "save" if self._request.action == "save" else "save and stop"
        click.echo(f"asked {plain(owner)} to {what}; waiting for a safe point", err=True)
        return self._await_process(claim)

    def _ask_launcher(self, launcher: Launcher) -> None:
        present = read_request(self._layout.request)
        # Written once, unless another request has replaced this one.
        if present is None or (present.launcher, present.action) != (launcher.id, "stop"):
            ask(self._files, self._layout, self._request)
            click.echo("no process trains; asked the launcher to end", err=True)

    def _answer_of_launcher(self, tried: int, last: RequestAnswer, received: bool) -> RequestAnswer:
        # The launcher may have passed the request to a process that has ended meanwhile.
        last = answer_by_end(read_attempt(self._layout, tried), _newest_step(self._layout)) or last
        words = "the launcher has ended, and starts no training"
        return RequestAnswer(
            last.done or (received and not last.received),
            words if received and not tried else f"{last.words}; {words}",
            last.step,
        )

    def _await_process(self, claim: Claim) -> RequestAnswer:
        """Wait until one process has served the request, or has ended."""
        received, sign, sign_since = False, claim.sign, time.monotonic()
        while True:
            # Looked up before the journal is read, so that the last lines of a process that ends
            # in between are not missed.
            gone = claim.sign == RELEASED or _has_died(claim) or self._is_superseded(claim)
            events = read_attempt(self._layout, claim.number)
            number = self._line_of_request(events)
            if number is not None and not received:
                received = True
                click.echo("the training has received the request", err=True)
            answer = (
                answer_to_save(events[number:], self._request.id)
                if number is not None and self._request.action == "save"
                else None
            )
            answer = answer or answer_by_end(events, _newest_step(self._layout))
            if answer is not None:
                return replace(answer, received=received)
            if gone:
                return RequestAnswer(
                    False,
                    "The process ended and left no record of it: was it killed? "
                    f"ckptkit list {plain(self._layout.root)} shows the state of the run",
                    received=received,
                )
            self._repeat_if_displaced(received)
            if claim.sign != sign:
                sign, sign_since = claim.sign, time.monotonic()
            elif time.monotonic() - sign_since > LEASE_SECS:
                raise RequestFailedError(
                    f"{claim.owner or 'The training process'} has given no sign of life for "
                    f"{LEASE_SECS:g} s: its machine was lost, or cannot reach the storage. The "
                    "request stands. Look at that machine, or start the run again."
                )
            self._sleep()

    def _line_of_request(self, events: Sequence[Event]) -> int | None:
        return next(
            (
                index
                for index, event in enumerate(events)
                if isinstance(event, Requested) and event.id == self._request.id
            ),
            None,
        )

    def _repeat_if_displaced(self, received: bool) -> None:
        """Write the request again if another `ckptkit save` replaced it before it was read."""
        if received:
            return
        present = read_request(self._layout.request)
        # A request to stop stays: it saves as well.
        if present is not None and present.id != self._request.id and present.action == "save":
            ask(self._files, self._layout, self._request)

    def _is_superseded(self, claim: Claim) -> bool:
        """Whether another process owns the run now, or its launcher has taken the request.

        A launcher takes requests only while it has no training, or before that has opened the run.
        """
        claims = list_claims(self._layout)
        return bool(claims and claims[-1].number > claim.number) or (
            self._launcher is not None and self._launcher.has_heard
        )

    def _sleep(self) -> None:
        if time.monotonic() >= self._deadline:
            raise RequestFailedError(
                "No answer within --timeout. The request stands, and is served at the next safe "
                "point. ckptkit list shows whether that has happened."
            )
        time.sleep(_POLL_SECS)


def _newest_step(layout: RunLayout) -> int | None:
    checkpoints = list_checkpoints(layout)
    return checkpoints[-1].name.step if checkpoints else None


def _training_claim(layout: RunLayout) -> Claim | None:
    """Return the claim of the process that trains the run, or None."""
    claims = list_claims(layout)
    return (
        claims[-1] if claims and claims[-1].sign != RELEASED and not _has_died(claims[-1]) else None
    )


def _has_died(claim: Claim) -> bool:
    """Whether the owner has died for certain; of another machine that cannot be known."""
    return claim.is_running(this_machine()) is False
