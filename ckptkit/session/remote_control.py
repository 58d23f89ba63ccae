"""Receives requests of other processes to the training, and reports its progress to them.

Two threads poll, so that the training thread never waits. One polls the launcher's channel on this
machine, the other the run directory, where storage may be slow or unavailable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ckptkit.errors import CheckpointError
from ckptkit.log import logger
from ckptkit.run import events
from ckptkit.run.control_requests import ANY_ATTEMPT, ControlRequest, Mailbox
from ckptkit.run.journal import Journal
from ckptkit.session.launcher_client import LauncherClient, link
from ckptkit.session.launcher_failure_report import failure_of
from ckptkit.session.options import RunOptions
from ckptkit.session.phase import PhaseMachine, SessionPhase
from ckptkit.session.position_and_metrics import RunProgress
from ckptkit.session.save_requests import SaveRequests
from ckptkit.session.stopping import Stopping
from ckptkit.threads import start_thread

HEARTBEAT_SECS = 0.5
"""Seconds between two signs of life to the launcher."""

LOOK_SECS = 1.0
"""Seconds between two checks of the run directory for requests."""

PROGRESS_SECS = 60.0
"""Seconds between two records of the progress in the journal."""

FIRST_PROGRESS_SECS = 5.0
"""Seconds until the first record of the progress; the interval then doubles.

Before the first save, only these records show which step a killed process had reached."""

_PATIENCE_SECS = 1.0
"""Seconds that `close` waits for each thread, which may hang in storage that never answers."""


_IDLE = "idle"


class RemoteControlled(Protocol):
    """What `RemoteControl` reads from a session to report its progress."""

    @property
    def phases(self) -> PhaseMachine:
        """The phases of the session."""
        ...

    @property
    def progress(self) -> RunProgress:
        """The position and the metrics of the run."""
        ...


class RemoteControl:
    """Receives requests and reports progress, from `start` to `close`.

    Args:
        session: the session that is reported.
        options: the options of the run.
        journal: the journal of the attempt.
        stopping: receives requests to stop.
        saves: receives requests to save.
        has_run: whether this process has the run directory; only the first worker of a job has.
    """

    def __init__(
        self,
        session: RemoteControlled,
        options: RunOptions,
        journal: Journal,
        stopping: Stopping,
        saves: SaveRequests,
        *,
        has_run: bool = True,
    ) -> None:
        self._session, self._options, self._journal = session, options, journal
        self._stopping, self._saves = stopping, saves
        self._has_run = has_run
        self._launcher: LauncherClient | None = None
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._is_alone = False
        """Whether the launcher is gone."""
        self._mailbox = Mailbox(options.layout.request, journal.attempt, self._take_request)
        self._notices: Mailbox | None = None
        self._recorded_step, self._recorded_at, self._started_at = 0, 0.0, 0.0

    def start(self) -> None:
        """Start the threads.

        Raises:
            ThreadRefusedError: If the system allows no further thread; call `close` in this case
                too.
        """
        self._launcher = link()
        self._recorded_step = self._session.progress.position.step
        self._recorded_at = self._started_at = self._options.clock.monotonic()
        self._start("ckptkit-control", LOOK_SECS, self._look)
        if self._launcher is not None:
            self._notices = Mailbox(self._launcher.channel.request, ANY_ATTEMPT, self._take_notice)
            # The notice says how much time is left; the signal that follows it does not.
            self._stopping.before_signal = self._notices.look
            self._stopping.stops_for_good = partial(self._launcher.say, asked=True)
            self._launcher.say(
                run=str(self._options.layout.root) if self._has_run else "",
                attempt=self._journal.attempt,
                outcome="",
                reason="",
                asked=False,
                failure=None,
                **self._signs(),
            )
            self._start("ckptkit-heartbeat", HEARTBEAT_SECS, self._beat)

    def close(self) -> None:
        """Stop the threads, and report to the launcher that no run is open."""
        self._over.set()
        for thread in self._threads:
            # The journal of a closed run must not be written. Storage that does not answer is not
            # waited for.
            thread.join(_PATIENCE_SECS)
        if self._launcher is not None:
            self._launcher.say(**{**self._signs(), "phase": _IDLE})
            if self._is_alone:
                self._launcher.remove_channel()

    def _start(self, name: str, secs: float, look: Callable[[], None]) -> None:
        def work() -> None:
            while not self._over.wait(secs):
                try:
                    look()
                # Another process owns the run now; the training thread finds that out itself.
                except CheckpointError as error:
                    logger.warning("could not handle a request: %s", error)

        self._threads.append(start_thread(work, name))

    def _look(self) -> None:
        self._mailbox.look()
        self._record_progress()

    # -- what is asked

    def _take_request(self, request: ControlRequest) -> None:
        """Handle a request that another process has left in the run directory."""
        self._journal.record(
            events.Requested(id=request.id, action=request.action, source=request.source)
        )
        if request.action == "save":
            logger.info("%s: saving at the next safe point", request.source)
            self._saves.add(request)
        else:
            logger.warning("%s: saving at the next safe point, then stopping", request.source)
            self._stopping.request(request.source, for_good=True)

    def _take_notice(self, request: ControlRequest) -> None:
        """Handle a notice from the launcher, which has already logged it."""
        if request.cancelled:
            logger.warning(
                "the notice that this machine will go away was cancelled (%s): there is no "
                "deadline any more",
                request.source,
            )
            self._stopping.stays()
            return
        left_secs = request.left_secs(self._options.clock.now())
        if left_secs is None:
            self._stopping.request(request.source)
        else:
            self._stopping.goes_away(request.source, left_secs)

    # -- what is reported

    def _record_progress(self) -> None:
        """Record the position of training about once a minute.

        A killed process records no end, so this line is the last information about it.
        """
        phases, now = self._session.phases, self._options.clock.monotonic()
        step = self._session.progress.position.step
        due_secs = min(
            PROGRESS_SECS, max(FIRST_PROGRESS_SECS, self._recorded_at - self._started_at)
        )
        if (
            phases.has_trained
            and step != self._recorded_step
            and now - self._recorded_at >= due_secs
        ):
            self._recorded_step, self._recorded_at = step, now
            self._journal.record(events.Progressed(step=step, spent=phases.stopwatch.secs))

    def _signs(self) -> dict[str, object]:
        progress, phases = self._session.progress, self._session.phases
        idle = phases.phase in (SessionPhase.BETWEEN_LOOPS, SessionPhase.CLOSED)
        return {
            "step": progress.position.step,
            "phase": _IDLE if idle else phases.phase.value,
            "beats": progress.beats,
            "trained": phases.has_trained,
            "saved": progress.saved_by_job,
        }

    def _beat(self) -> None:
        assert self._launcher is not None
        assert self._notices is not None
        self._launcher.say(**self._signs())
        self._notices.look()
        if not self._is_alone and self._launcher.is_orphaned():
            self._is_alone = True
            # Before anything is logged: a full pipe without a reader would block this thread.
            self._launcher.redirect_output(self._options.layout.log)
            logger.warning("the launcher is gone: saving at the next safe point, then stopping")
            self._stopping.request("the launcher is gone")

    def report_end(self, outcome: str, error: BaseException | None) -> None:
        """Report the end of the attempt to the launcher.

        Args:
            outcome: the outcome of the attempt, as the journal records it.
            error: the exception that ended it, or None.
        """
        if self._launcher is not None:
            self._launcher.say(
                **self._signs(),
                outcome=outcome,
                reason=self._stopping.served,
                failure=failure_of(error) if outcome == "failed" else None,
            )
