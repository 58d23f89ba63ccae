"""What reaches a training from outside of its process, and what it says to the outside: requests in
the run directory, a launcher.

Two threads look, so that the training thread never does: one at the launcher's channel, which is on
this machine, and one at the run directory, whose storage may be slow or away.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ckptkit.errors import CheckpointError
from ckptkit.exit_codes import PERMANENT_ERRORS
from ckptkit.log import logger
from ckptkit.position import RunPosition
from ckptkit.run import events
from ckptkit.run.best_effort import try_record
from ckptkit.run.control_requests import ANY_ATTEMPT, ControlRequest, Mailbox
from ckptkit.run.journal import Journal
from ckptkit.run.launcher_channel import Failure
from ckptkit.session.launcher_client import LauncherClient, link
from ckptkit.session.options import RunOptions
from ckptkit.session.stopping import Stopping
from ckptkit.session.stopwatch import Stopwatch

HEARTBEAT_SECS = 0.5
LOOK_SECS = 1.0
PROGRESS_SECS = 60.0
_PATIENCE_SECS = 1.0
_LONGEST_MESSAGE = 2000

_IDLE = "between loops"


class RemoteControlled(Protocol):
    """What is told of an attempt."""

    position: RunPosition
    phase: str
    beats: int
    trained: bool
    stopwatch: Stopwatch


class RemoteControl:
    """Requests from outside, and signs of life, from when it is made until `end`.

    Args:
        training: the attempt.
        plan: of the attempt.
        journal: of the attempt.
        stopping: takes requests to stop.
    """

    def __init__(
        self, training: RemoteControlled, plan: RunOptions, journal: Journal, stopping: Stopping
    ) -> None:
        self._training, self._plan, self._journal, self._stopping = (
            training,
            plan,
            journal,
            stopping,
        )
        self._link = link()
        self._saves: deque[ControlRequest] = deque()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._alone = False
        self._mailbox = Mailbox(plan.layout.request, journal.attempt, self._asked)
        self._told_step, self._told_at = training.position.step, plan.clock.monotonic()
        self._start("ckptkit-control", LOOK_SECS, self._look)
        if self._link is not None:
            self._channel = Mailbox(self._link.channel.request, ANY_ATTEMPT, self._told)
            stopping.before_signal = self._channel.look
            self._link.say(
                run=str(plan.layout.root),
                attempt=journal.attempt,
                outcome="",
                reason="",
                asked=False,
                failure=None,
                **self._signs(),
            )
            self._start("ckptkit-heartbeat", HEARTBEAT_SECS, self._beat)

    def _start(self, name: str, secs: float, look: Callable[[], None]) -> None:
        def work() -> None:
            while not self._over.wait(secs):
                try:
                    look()
                except (
                    CheckpointError
                ) as error:  # the run is another process's now, as training will find, too
                    logger.warning("a request was not taken: %s", error)

        self._threads.append(threading.Thread(target=work, name=name, daemon=True))
        self._threads[-1].start()

    def _look(self) -> None:
        self._mailbox.look()
        self._tell_progress()

    # -- what is asked

    @property
    def save_reason(self) -> str | None:
        """Why the run is to be saved now, where somebody asked for that."""
        return f"asked for by {self._saves[0].source}" if self._saves else None

    def saves(self, step: int) -> None:
        """The state at `step` is about to be saved, which serves all requests for that."""
        while self._saves:
            try_record(self._journal, events.RequestServed(id=self._saves.popleft().id, step=step))

    def _asked(self, request: ControlRequest) -> None:
        """A request in the run directory."""
        try_record(
            self._journal,
            events.Requested(id=request.id, action=request.action, source=request.source),
        )
        if request.action == "save":
            logger.info("%s: saving at the next safe point", request.source)
            self._saves.append(request)
        else:
            logger.warning("%s: saving at the next safe point, then stopping", request.source)
            if self._link is not None:
                self._link.say(asked=True)
            self._stopping.request(request.source)

    def _told(self, request: ControlRequest) -> None:
        """The launcher knows something."""
        if request.cancelled:
            logger.warning("the machine stays after all (%s)", request.source)
            self._stopping.stays()
            return
        left_secs = request.left_secs(self._plan.clock.now())
        if left_secs is None:
            self._stopping.request(request.source)
        else:
            self._stopping.goes_away(request.source, left_secs)  # the launcher has said so aloud

    # -- what is said

    def _tell_progress(self) -> None:
        """Tells the journal now and then how far training has come, so that it is known of a
        process that is killed without a word.
        """
        training, now = self._training, self._plan.clock.monotonic()
        step = training.position.step
        if training.trained and step != self._told_step and now - self._told_at >= PROGRESS_SECS:
            self._told_step, self._told_at = step, now
            try_record(self._journal, events.Progressed(step=step, spent=training.stopwatch.secs))

    def _signs(self) -> dict[str, object]:
        training = self._training
        return {
            "step": training.position.step,
            "phase": "idle" if training.phase == _IDLE else training.phase,
            "beats": training.beats,
            "trained": training.trained,
        }

    def _beat(self) -> None:
        assert self._link is not None
        self._link.say(**self._signs())
        self._channel.look()
        if not self._alone and self._link.is_orphaned():
            self._alone = True
            self._link.goes_on_alone(self._plan.layout.log)
            logger.warning("the launcher is gone: saving at the next safe point, then stopping")
            self._stopping.request("the launcher is gone")

    def ended(self, outcome: str, error: BaseException | None) -> None:
        """The attempt has come to an end.

        Args:
            outcome: as in the journal.
            error: what ended it, or None.
        """
        if self._link is not None:
            reason = self._stopping.served
            self._link.say(
                **self._signs(),
                outcome=outcome,
                reason=reason,
                failure=failure_of(error) if outcome == "failed" else None,
            )

    def end(self) -> None:
        """Nobody looks any more."""
        self._over.set()
        for thread in self._threads:
            thread.join(
                _PATIENCE_SECS
                # nothing is told into a journal that is let go of; storage that is away is not
                # waited
                # for
            )
        if self._link is not None:
            self._link.say(**{**self._signs(), "phase": "idle"})
            if self._alone:
                self._link.leave()


def may_restart(error: BaseException) -> bool:
    """Return whether the next start may succeed."""
    # Only our own classes count: another library may have a `ConfigError` of its own.
    kinds = {cls.__name__ for cls in type(error).__mro__ if issubclass(cls, CheckpointError)}
    return not kinds & PERMANENT_ERRORS.keys()


def failure_of(error: BaseException | None) -> Failure | None:
    """What a launcher is told of an exception."""
    if error is None:
        return None
    message = (
        str(error)[:_LONGEST_MESSAGE].encode(errors="backslashreplace").decode()
    )  # a name on disk need not be spellable
    return Failure(error=type(error).__name__, message=message, restart=may_restart(error))


@contextmanager
def told_where_it_fails() -> Iterator[None]:
    """The block opens a run: where it cannot be opened, the launcher is told why."""
    try:
        yield
    except Exception as error:
        known: LauncherClient | None = link()
        if known is not None:
            known.say(outcome="failed", failure=failure_of(error))
        raise
