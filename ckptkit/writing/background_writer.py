"""Writes checkpoints on a background thread: one job runs, and at most one waits."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from operator import methodcaller

from ckptkit.errors import BackgroundSaveError, RunLockedError, WorkerLost
from ckptkit.log import logger
from ckptkit.printable_text import sentence
from ckptkit.process_hooks import AfterFork, AtExit, after_fork, at_exit
from ckptkit.writing.checkpoint_writer import Job
from ckptkit.writing.memory_headroom import return_freed_memory

# For the fork and exit hooks at the end of this file. Weak references, so that a writer is deleted
# with its manager.
_writers: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


class BackgroundWriter:
    """Runs save jobs on its own thread, in the order in which they are submitted.

    While one job runs, another may wait; a newer job replaces the waiting one. The thread exists
    only while there is work. An exiting interpreter waits for it, unless the work was abandoned. If
    the system refuses a thread, jobs run in the foreground.

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
        """Reset the writer to a state without jobs."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._working: Job | None = None
        self._waiting: Job | None = None
        self._failures: list[BaseException] = []  # errors that were not raised yet
        self._abandoned = False

    @property
    def busy(self) -> bool:
        """Whether a job is running or waiting."""
        return self._thread is not None

    @property
    def full(self) -> bool:
        """Whether one job is running and another one is waiting."""
        return self._waiting is not None

    def check(self) -> None:
        """Raise the errors of earlier jobs, once.

        If several jobs failed, it raises the first error with notes about the others.

        Raises:
            BackgroundSaveError: If a save failed; its cause is attached.
            RunLockedError: If another process owns the run now.
            WorkerLost: If another worker of the job has ended.
        """
        # First checked without the lock, because this runs at each step.
        if not self._failures:
            return
        with self._changed:
            failures, self._failures = self._failures, []
        first, *others = failures
        lost_run: BaseException | None = next(
            (error for error in failures if isinstance(error, RunLockedError)), None
        )
        # A SystemExit, which must end the program with its exit code.
        lost_run = next((error for error in failures if isinstance(error, WorkerLost)), lost_run)
        if lost_run is not None:
            # Another process owns the run, so all later saves fail for that reason, which is
            # raised.
            raise _with_notes(
                lost_run, [error for error in failures if type(error) is not type(lost_run)]
            )
        raise _with_notes(
            BackgroundSaveError(
                f"A background save failed: {sentence(first)} Earlier checkpoints are untouched.",
                first,
            ),
            others,
        ) from first

    def submit(self, job: Job) -> None:
        """Submit a job and return at once, unless the waiting job must not be replaced.

        It raises no errors of earlier jobs, because this job may be the last chance to save, on a
        thread whose exceptions are lost.

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
                f"a newer snapshot of step {job.step} replaced it while an earlier one was being "
                f"written"
            )

    def _start(self) -> bool:
        """Start the thread; return whether the system allowed it.

        `_thread` is set in any case, because the writer is busy until the work is done, on whatever
        thread.
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
        except (RuntimeError, MemoryError) as error:
            # The process has reached its limit of threads, or the interpreter is shutting down
            # (Python 3.12 and later). The reason rarely goes away, so it is logged once.
            if not self._refusal_logged:
                logger.warning("saving in the foreground, without a background thread: %s", error)
            self._refusal_logged = True
            return False
        return True

    def _work_in_foreground(self) -> None:
        """Run jobs on the calling thread, unlocked, so that another thread can abandon them.

        Errors of jobs are raised later, as with a thread. An interrupt is raised at once, because
        it is meant for the caller.
        """
        try:
            self._work(raised_at_once=(KeyboardInterrupt, SystemExit))
        except BaseException:
            # Without this the writer would stay busy, and callers that wait for it would hang.
            with self._changed:
                dropped, self._waiting = self._waiting, None
                self._working = self._thread = None
                self._changed.notify_all()
            if dropped is not None:
                dropped.drop("the write of an earlier snapshot was interrupted")
            raise

    def _work(self, raised_at_once: tuple[type[BaseException], ...] = ()) -> None:
        """Run jobs until none waits; collect errors, but raise those in `raised_at_once`."""
        while True:
            with self._changed:
                self._working, self._waiting = self._waiting, None
                self._changed.notify_all()
                if self._working is None:
                    # Under the same lock as the check, so that a job that is submitted now starts a
                    # new thread.
                    self._thread = None
                    return
            try:
                self._working.run()
            except raised_at_once:
                raise
            except (
                BaseException
            ) as error:  # SystemExit too, because exceptions of a thread are lost
                with self._changed:
                    if not self._abandoned:
                        self._failures.append(error)
            with self._changed:
                # Deleted before the memory is returned, because the job refers to the snapshot.
                self._working = None
            return_freed_memory()

    def finish(self) -> None:
        """Wait until all jobs are done or abandoned, without raising their errors."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None or self._abandoned)

    def wait(self, timeout_secs: float | None = None) -> None:
        """Wait until all jobs are done, and raise their errors.

        Args:
            timeout_secs: the longest time to wait, in seconds; None for no limit.

        Raises:
            BackgroundSaveError: If a save failed, or is not done in time.
        """
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._thread is None or self._abandoned, timeout_secs
            )
        self.check()
        if not done:
            raise BackgroundSaveError(
                f"A save was not finished within {timeout_secs:g} s; it continues in the "
                f"background. Pass a longer timeout_secs, or use a faster disk."
            )

    def abandon(self) -> None:
        """Abandon all jobs: nothing waits for them any more, and their errors are not raised."""
        with self._changed:
            self._abandoned = True
            dropped, self._waiting = self._waiting, None
            self._changed.notify_all()
        if dropped is not None:
            dropped.drop("the run was closed while an earlier one was being written")

    def forget_in_child(self) -> None:
        """Remove all jobs in a forked child, which has no thread to run them."""
        self._reset()


def _with_notes(error: BaseException, others: list[BaseException]) -> BaseException:
    """Return the error with a note for each of the other errors."""
    for other in others:
        error.add_note(f"Another save failed as well: {type(other).__name__}: {other}")
    return error


def _after_fork_in_child() -> None:
    """Make all writers idle in a forked child, or a wait for them would never end."""
    for writer in list(_writers):
        writer.forget_in_child()


def _at_exit() -> None:
    """Wait for all writers, and exit with code 1 if an error was never raised.

    Without this, a program would exit with code 0 although its last save failed.
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
        # In an exit hook, sys.exit() does not change the exit code.
        os._exit(1)


after_fork(AfterFork.WRITERS, _after_fork_in_child)
at_exit(AtExit.WRITERS, _at_exit)
