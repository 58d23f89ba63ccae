"""The end of a session: what it still saves, and what it records as its outcome."""

from __future__ import annotations

from contextlib import ExitStack

from ckptkit.errors import Preempted
from ckptkit.run import events
from ckptkit.session.finish_record import note_finished
from ckptkit.session.remote_control import RemoteControl, may_restart
from ckptkit.session.session_parts import SessionParts


def close_session(
    session: SessionParts,
    remote: RemoteControl,
    resources: ExitStack,
    error: BaseException | None,
) -> None:
    """Save what is not saved yet, record the outcome, and release the run and its resources.

    Args:
        session: the session that ends.
        remote: reports the end to a launcher.
        resources: the resources to release. They are released even if a save fails.
        error: what ended training, or None.
    """
    with resources:
        try:
            _record_end(session, remote, error)
        except BaseException as second:
            if error is not None:
                # A traceback shows the cause of the second error, and not what came before it.
                second.add_note(f"The run was being closed after {type(error).__name__}: {error}")
            # Nothing may be written into a run that is closed.
            session.saves.saver.abandon()
            raise


def _record_end(session: SessionParts, remote: RemoteControl, error: BaseException | None) -> None:
    outcome = _save_the_rest(session, error)
    # Before the writer is waited for: a save may hang, and the reason of the end be lost.
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
    # What failed in the background is raised here, and the journal then records no end.
    session.saves.saver.wait()
    remote.report_end(outcome, error)
    # A program that was interrupted after the end may be run again, with objects made anew.
    if outcome == "finished" and error is None:
        note_finished(session.options.layout, session.options.state)
    session.journal.record(
        events.AttemptEnded(
            outcome=outcome, step=session.position.step, spent=session.stopwatch.secs
        )
    )


def _save_the_rest(session: SessionParts, error: BaseException | None) -> str:
    """Save what is not saved yet, if the kind of ending allows it.

    Returns:
        The outcome, in the journal's words.
    """
    outcome = "finished" if session.done else "stopped"
    stopping = session.stopping
    if stopping.preempted:
        return "preempted"
    if isinstance(error, Preempted) or (
        isinstance(error, KeyboardInterrupt) and stopping.answered_elsewhere
    ):
        # Another run of this process was told to stop, and the program is being left.
        if session.loop.is_between_turns:
            _save(session, "another run was told to stop")
        return "preempted"
    if isinstance(error, KeyboardInterrupt):
        # The program is to stop now: that is no failure, and nothing is saved.
        session.saves.saver.abandon()
        return outcome
    if is_orderly_exit(error):
        return outcome  # no failure either, but training may be in the middle of a step
    if error is not None:
        return "failed"
    _save(session, "the loop was left")
    return outcome


def _save(session: SessionParts, trigger: str) -> None:
    if session.done or session.is_saved(session.position):
        return
    session.warn_partial_step()
    session.save(trigger)


def is_orderly_exit(error: BaseException | None) -> bool:
    """Return whether the program ends by `sys.exit()` with a code that means success."""
    return isinstance(error, SystemExit) and error.code in (0, None)
