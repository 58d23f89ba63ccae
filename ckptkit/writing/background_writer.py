"""Writing checkpoints on a background thread: one job at work, at most one waiting."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from operator import methodcaller

from ckptkit.errors import BackgroundSaveError, RunLockedError
from ckptkit.log import logger
from ckptkit.process_hooks import AfterFork, AtExit, after_fork, at_exit
from ckptkit.writing.checkpoint_writer import Job
from ckptkit.writing.save_cost import return_freed_memory

# For the fork and exit hooks at the end of this file. Weak, so that a writer ends with its manager.
_writers: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


class BackgroundWriter:
    """Runs jobs on a thread of its own, in the order in which they are submitted.

    While one job is at work another may wait. A newer job replaces one that waits. The thread
    exists only while there is work, and an interpreter that exits waits for it, unless the work was
    abandoned. If the system refuses a thread, jobs run in the foreground.

    Args:
        start_thread: starts a thread, or raises `RuntimeError` if the system has none left.
    """

    def __init__(
        self, start_thread: Callable[[threading.Thread], object] = methodcaller("start")
    ) -> None:
        self._start_thread = start_thread
        self._refusal_logged = False
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        """Sets everything to the state without jobs."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._working: Job | None = None
        self._waiting: Job | None = None
        self._failures: list[BaseException] = []  # not raised yet
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
        """Raises the errors of earlier jobs, once.

        If several jobs failed, it raises the first one's error with notes about the others.

        Raises:
            BackgroundSaveError: if a save failed; with its cause.
            RunLockedError: if the run belongs to another process now.
        """
        # Read without the lock first: this runs at each step.
        if not self._failures:
            return
        with self._changed:
            failures, self._failures = self._failures, []
        first, *others = failures
        lost_run = next((error for error in failures if isinstance(error, RunLockedError)), None)
        if lost_run is not None:
            # Another process owns the run, so all later saves fail for the same reason. That reason
            # is the one to raise.
            raise _with_notes(
                lost_run, [error for error in failures if not isinstance(error, RunLockedError)]
            )
        raise _with_notes(
            BackgroundSaveError(
                f"A save failed while training continued: {str(first) or repr(first)} The "
                "checkpoints from before it are untouched.",
                first,
            ),
            others,
        ) from first

    def submit(self, job: Job) -> None:
        """Takes a job and returns at once, unless the job that waits must not be replaced.

        It does not raise the errors of earlier jobs: this job may be the last chance to save, on a
        thread whose exceptions nobody sees.

        Args:
            job: the save to run.
        """
        refused = False
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or not self._waiting.must)
            replaced, self._waiting = self._waiting, job
            if self._thread is None:
                refused = not self._start()
        if refused:
            self._work_in_foreground()
        if replaced is not None:
            replaced.drop(
                f"a newer one, of step {job.step}, took its place while an earlier one was being "
                "written"
            )

    def _start(self) -> bool:
        """Starts the thread; returns whether the system granted it.

        `_thread` is set in any case: until the work is done the writer is busy, on whatever thread.
        """
        # The thread has the priority of training's. Measured with training on both of two cores
        # and 250 MB (scripts/benchmarks/scheduling.py): with nice 19 and with SCHED_IDLE the commit
        # came after 1.8 and 2.0 s instead of 0.9 s. Training lost 0.16 and 0.32 s instead of 0.38 s
        # in the next 1.5 s, and the rest later. SCHED_BATCH changed nothing. A later commit is the
        # worse bargain on a machine that is about to be preempted.
        #
        # A daemon, because an exit waits for other threads even if their work was abandoned.
        # `_at_exit` waits for this one.
        self._thread = threading.Thread(target=self._work, name="ckptkit-writer", daemon=True)
        try:
            self._start_thread(self._thread)
        except RuntimeError as error:
            # The process has as many threads as it may have, or the interpreter is shutting down
            # (Python 3.12 and later). The reason rarely goes away, so it is logged once.
            if not self._refusal_logged:
                logger.warning("saving in the foreground, without a background thread: %s", error)
            self._refusal_logged = True
            return False
        return True

    def _work_in_foreground(self) -> None:
        """Runs jobs on the calling thread, without the lock: another thread may abandon them.

        Errors of jobs are raised later, as those of a thread are. An interrupt is raised at once:
        it belongs to the caller.
        """
        try:
            self._work(raised_at_once=(KeyboardInterrupt, SystemExit))
        except BaseException:
            # Without this the writer would stay busy, and everything that waits for it would hang.
            with self._changed:
                dropped, self._waiting = self._waiting, None
                self._working = self._thread = None
                self._changed.notify_all()
            if dropped is not None:
                dropped.drop("an earlier one was interrupted while it was being written")
            raise

    def _work(self, raised_at_once: tuple[type[BaseException], ...] = ()) -> None:
        """Runs jobs until none waits; collects their errors, except those that are given."""
        while True:
            with self._changed:
                self._working, self._waiting = self._waiting, None
                self._changed.notify_all()
                if self._working is None:
                    # Under the same lock as the check, so that a job which is submitted right now
                    # starts a new thread.
                    self._thread = None
                    return
            try:
                self._working.run()
            except raised_at_once:
                raise
            except BaseException as error:  # SystemExit too: nobody sees what a thread raises
                with self._changed:
                    if not self._abandoned:
                        self._failures.append(error)
            with self._changed:
                # Dropped before the memory is returned: the job holds the snapshot.
                self._working = None
            return_freed_memory()

    def finish(self) -> None:
        """Waits until all jobs are done or abandoned, and raises none of their errors."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None or self._abandoned)

    def wait(self, timeout_secs: float | None = None) -> None:
        """Waits until all jobs are done, and raises their errors.

        Args:
            timeout_secs: how long to wait; None waits without a limit.

        Raises:
            BackgroundSaveError: if a save failed, or is not done when the time is over.
        """
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._thread is None or self._abandoned, timeout_secs
            )
        self.check()
        if not done:
            raise BackgroundSaveError(
                f"A save was not finished within {timeout_secs:g} s; it continues in the "
                "background. Expected a longer timeout_secs, or a faster disk."
            )

    def abandon(self) -> None:
        """Gives up all jobs: nobody waits for them any more, and their errors are not raised."""
        with self._changed:
            self._abandoned = True
            dropped, self._waiting = self._waiting, None
            self._changed.notify_all()
        if dropped is not None:
            dropped.drop("the run was closed while an earlier one was being written")

    def forget_in_child(self) -> None:
        """Forgets all jobs in a forked child, which has no thread to run them."""
        self._reset()


def _with_notes(error: BaseException, others: list[BaseException]) -> BaseException:
    """Return the error with a note for each of the other errors."""
    for other in others:
        error.add_note(f"Another save failed as well: {type(other).__name__}: {other}")
    return error


def _after_fork_in_child() -> None:
    """Makes the child's writers idle; without it, a wait there would never end."""
    for writer in list(_writers):
        writer.forget_in_child()


def _at_exit() -> None:
    """Waits for all writers, and exits with code 1 if an error was never raised.

    Without it a program would exit with code 0 although its last save failed.
    """
    for writer in list(_writers):
        writer.finish()
    unreported = [error for writer in list(_writers) for error in writer._failures]
    if unreported:
        for error in unreported:
            sys.stderr.write(
                "A save failed in the background, and the program ended before it was reported:\n"
            )
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        # In an exit hook, sys.exit() changes no exit code.
        os._exit(1)


after_fork(AfterFork.WRITERS, _after_fork_in_child)
at_exit(AtExit.WRITERS, _at_exit)
