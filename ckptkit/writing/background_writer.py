"""Writing behind training's back: one thread, one job at work, one waiting."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import weakref

from ckptkit.errors import BackgroundSaveError, RunLockedError
from ckptkit.log import logger
from ckptkit.process_hooks import AfterFork, AtExit, after_fork, at_exit
from ckptkit.writing.checkpoint_writer import Job
from ckptkit.writing.memory import give_back

_writers: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


class BackgroundWriter:
    """Runs jobs on a thread of its own, in the order in which they come.

    While one is at work one may wait; a newer one takes the place of one that waits. The thread
    lives only while there is work, and an interpreter that exits waits for it, unless the work was
    abandoned.
    """

    def __init__(self) -> None:
        self._renew()
        _writers.add(self)

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._working: Job | None = None
        self._waiting: Job | None = None
        self._failed: list[BaseException] = []  # what nobody has been told yet
        self._abandoned = False

    @property
    def busy(self) -> bool:
        """Whether a job is at work or waits."""
        return self._thread is not None

    @property
    def full(self) -> bool:
        """Whether one job is at work and another one waits."""
        return self._waiting is not None

    def check(self) -> None:
        """Raises what went wrong, once. Where several jobs did, that is the first one's error, with
        a note of the others.

        Raises:
            BackgroundSaveError: with its cause.
            RunLockedError: where the run belongs to somebody else now.
        """
        if not self._failed:
            return
        with self._changed:
            failures, self._failed = self._failed, []
        failed, *others = failures
        lost = next((error for error in failures if isinstance(error, RunLockedError)), None)
        if (
            lost is not None
        ):  # it is somebody else's run: whatever followed has failed in the same way
            raise _with_notes(
                lost, [error for error in failures if not isinstance(error, RunLockedError)]
            )
        raise _with_notes(
            BackgroundSaveError(
                f"A save failed while training went on: {str(failed) or repr(failed)} The "
                "checkpoints from before it "
                f"are untouched.",
                failed,
            ),
            others,
        ) from failed

    def submit(self, job: Job) -> None:
        """Takes a job, and returns at once; waits only where the one that waits may not be dropped.

        What went wrong in an earlier job is not raised here: this one may be the last chance that
        there is, on a thread that nobody listens to.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or not self._waiting.must)
            dropped, self._waiting = self._waiting, job
            if self._thread is None:
                self._start()
        if dropped is not None:
            dropped.drop(
                f"a newer one, of step {job.step}, took its place while an earlier one was being "
                "written"
            )

    # The thread has the priority of training's. With training on both of two cores and 250 MB
    # (scripts/benchmarks/scheduling.py), nice 19 and
    # SCHED_IDLE took 1.8 and 2.0 s until the commit instead of 0.9 s. In the next 1.5 s training
    # lost 0.16 and 0.32 s instead of 0.38 s, and the
    # rest later; SCHED_BATCH changed nothing. A later commit is the worse bargain on a machine that
    # goes away.
    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._work, name="ckptkit-writer", daemon=True
        )  # see `_at_exit`
        try:
            self._thread.start()
        except RuntimeError as error:  # no further thread, or the interpreter is on its way out
            logger.warning("writing in the foreground: %s", error)
            self._work()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._working, self._waiting = self._waiting, None
                self._changed.notify_all()
                if self._working is None:
                    self._thread = None
                    return
            try:
                self._working.run()
            except BaseException as error:
                with self._changed:
                    if not self._abandoned:
                        self._failed.append(error)
            with self._changed:
                self._working = None  # and with it its snapshot
            give_back()

    def finish(self) -> None:
        """Returns when everything submitted is done or was abandoned, whatever came of it."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None or self._abandoned)

    def wait(self, timeout_secs: float | None = None) -> None:
        """Returns when everything submitted is done.

        Raises:
            BackgroundSaveError: what went wrong; or that it is not done yet when the time is over.
        """
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._thread is None or self._abandoned, timeout_secs
            )
        self.check()
        if not done:
            raise BackgroundSaveError(
                f"A save was not finished within {timeout_secs:g} s; it goes on in the "
                "background. Expected a longer "
                f"timeout_secs, or a faster disk."
            )

    def abandon(self) -> None:
        """Nobody waits for what is being written any more, nor asks what came of it."""
        with self._changed:
            self._abandoned = True
            dropped, self._waiting = self._waiting, None
            self._changed.notify_all()
        if dropped is not None:
            dropped.drop("the run was let go of while an earlier one was being written")

    def forget_in_child(self) -> None:
        """A forked child has no thread that would write, and nothing to write."""
        self._renew()


def _with_notes(error: BaseException, others: list[BaseException]) -> BaseException:
    """The error, which says of others that it did not come alone."""
    for other in others:
        error.add_note(f"Another save failed as well: {type(other).__name__}: {other}")
    return error


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer.forget_in_child()


def _at_exit() -> None:
    """An interpreter that exits waits for what is being written, and does not end well over a
    failed save that nobody has heard of.
    """
    for writer in list(_writers):
        writer.finish()
    unheard = [error for writer in list(_writers) for error in writer._failed]
    if unheard:
        for error in unheard:
            sys.stderr.write(
                "A save failed in the background, and the program ended before it could be told:\n"
            )
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


after_fork(AfterFork.WRITERS, _after_fork_in_child)
at_exit(AtExit.WRITERS, _at_exit)
