"""Closes a session: saves the last state, records the outcome, and releases the run."""

from __future__ import annotations

from contextlib import ExitStack

from ckptkit.errors import Preempted, WorkerLost
from ckptkit.log import logger
from ckptkit.run import events
from ckptkit.session.launcher_failure_report import may_restart
from ckptkit.session.remote_control import RemoteControl
from ckptkit.session.run_completion import note_finished
from ckptkit.session.session_base import SessionBase


def close_session(
    session: SessionBase,
    remote: RemoteControl,
    resources: ExitStack,
    error: BaseException | None,
) -> None:
    """Save the unsaved state, record the outcome, and release the run and its resources.

    Args:
        session: the session that ends.
        remote: the remote control, which reports the end to a launcher.
        resources: the resources to release. They are released even if a save fails.
        error: what ended training, or None.
    """
    with resources:
        if session.team is not None and isinstance(error, WorkerLost):
            # Python prints nothing for an exception that ends a program with a code.
            logger.error("%s: this process ends with code %d", error, error.code)
            session.team.give_up(error)
        try:
            _record_end(session, remote, error)
            if session.team is not None:
                session.team.close(error)
        except BaseException as second:
            if error is not None:
                # The first error is named in the message, because a traceback shows only the cause
                # of the second.
                second.add_note(f"The run was being closed after {type(error).__name__}: {error}")
            # Nothing may be written into a run after it was closed.
            session.saves.saver.abandon()
            if session.team is not None:
                session.team.close(second)
            if not isinstance(error, WorkerLost):
                raise
            # The loss is the cause, also of a save that has failed, and decides the exit code.
            logger.debug("the run was closed after the loss of a worker: %s", second)


def _record_end(session: SessionBase, remote: RemoteControl, error: BaseException | None) -> None:
    outcome = _save_the_rest(session, error)
    # Before waiting for the writer: if a save hangs, the reason for the end is still recorded.
    if outcome == "failed":
        assert error is not None
        session.journal.record(
            events.Failed(
                error=type(error).__name__,
                message=str(error),
                step=session.position.step,
                restart=may_restart(error),
            )
        )
    # A failure in the background is raised here; the journal then records no regular end.
    session.saves.saver.wait()
    if error is None and session.mirror is not None:
        session.mirror.finish()
    remote.report_end(outcome, error)
    # A program that was interrupted after its end may be run again with new objects.
    if outcome == "finished" and error is None:
        note_finished(session.options.layout, session.options.state)
    session.journal.record(
        events.AttemptEnded(
            outcome=outcome, step=session.position.step, spent=session.phases.stopwatch.secs
        )
    )


def _save_the_rest(session: SessionBase, error: BaseException | None) -> str:
    """Save the unsaved state, unless an error has ended training.

    Returns:
        The outcome, as the journal records it.
    """
    outcome = "finished" if session.done else "stopped"
    stopping = session.stopping
    if stopping.preempted:
        return "preempted"
    if isinstance(error, Preempted) or (
        isinstance(error, KeyboardInterrupt) and stopping.answered_elsewhere
    ):
        # Another run of this process has received a request to stop, so the program is ending.
        if session.loop.is_between_turns:
            _save(session, "another run was told to stop")
        return "preempted"
    if isinstance(error, KeyboardInterrupt):
        # The program has to stop at once: it has not failed, and nothing is saved.
        session.saves.saver.abandon()
        return outcome
    if is_orderly_exit(error):
        return outcome  # also no failure, but training may be in the middle of a step
    if error is not None:
        return "failed"
    _save(session, "the loop was left")
    return outcome


def _save(session: SessionBase, trigger: str) -> None:
    if session.done or session.is_saved(session.position):
        return
    partial = session.partial_turn()
    if session.team is not None:
        session.team.meet("a loop that was left")
    if partial is None:
        session.save(trigger)
    elif partial.taken is not None:
        session.save(trigger, partial.taken)


def is_orderly_exit(error: BaseException | None) -> bool:
    """Return whether an exception is `sys.exit()` with a code that means success."""
    return isinstance(error, SystemExit) and error.code in (0, None)
