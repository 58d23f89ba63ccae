"""Writing behind training's back: one thread, one job at work, one waiting."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import weakref

from ckptkit.errors import BackgroundSaveError, RunLockedError
from ckptkit.log import logger
from ckptkit.save.memory import give_back
from ckptkit.save.writer import Job
from ckptkit.store.lock import before_release_at_exit

_writers: weakref.WeakSet[BackgroundWriter] = weakref.WeakSet()


class BackgroundWriter:
    """Runs jobs on a thread of its own, in the order in which they come.

    While one is at work one may wait; a newer one takes the place of one that waits. The thread lives only while there is work, and an
    interpreter that exits waits for it, unless the work was abandoned.
    """

    def __init__(self) -> None:
        self._renew()
        _writers.add(self)

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._working: Job | None = None
        self._waiting: Job | None = None
        self._failed: BaseException | None = None
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
        """Raises what went wrong, once.

        Raises:
            BackgroundSaveError: with its cause.
            RunLockedError: where the run belongs to somebody else now.
        """
        failed, self._failed = self._failed, None
        if isinstance(failed, RunLockedError):
            raise failed
        if failed is not None:
            raise BackgroundSaveError(f"A save failed while training went on: {str(failed) or repr(failed)} The checkpoints from before it are "
                                      f"untouched.", failed) from failed

    def submit(self, job: Job) -> None:
        """Takes a job, and returns at once; waits only where the one that waits may not be dropped.

        Raises:
            BackgroundSaveError: what went wrong in an earlier job; this one is not taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or not self._waiting.must or self._failed is not None)
            self.check()
            dropped, self._waiting = self._waiting, job
            if self._thread is None:
                self._start()
        if dropped is not None:
            dropped.drop(f"a newer one, of step {job.step}, took its place while an earlier one was being written")

    # The thread has the priority of training's. With training on both of two cores and 250 MB (scripts/benchmarks/scheduling.py), nice 19 and
    # SCHED_IDLE took 1.8 and 2.0 s until the commit instead of 0.9 s. In the next 1.5 s training lost 0.16 and 0.32 s instead of 0.38 s, and the
    # rest later; SCHED_BATCH changed nothing. A later commit is the worse bargain on a machine that goes away.
    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="ckptkit-writer", daemon=True)  # see `_at_exit`
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
                if self._abandoned:
                    continue
                with self._changed:
                    self._failed, self._working = error, None
                    dropped, self._waiting = self._waiting, None
                if dropped is not None:
                    dropped.drop("an earlier save failed")
            with self._changed:
                self._working = None  # and with it its snapshot
            give_back()

    def finish(self) -> None:
        """Waits for what is being written, unless it was abandoned; whatever comes of it."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None or self._abandoned)

    def wait(self, timeout_secs: float | None = None) -> None:
        """Returns when everything submitted is done.

        Raises:
            BackgroundSaveError: what went wrong; or that it is not done yet when the time is over.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: self._thread is None or self._abandoned, timeout_secs)
        self.check()
        if not done:
            raise BackgroundSaveError(f"A save was not finished within {timeout_secs:g} s; it goes on in the background. Expected a longer "
                                      f"timeout_secs, or a faster disk.")

    def abandon(self) -> None:
        """Nobody waits for what is being written any more, nor asks what came of it."""
        with self._changed:
            self._abandoned = True
            self._waiting = None

    def forget_in_child(self) -> None:
        """A forked child has no thread that would write, and nothing to write."""
        self._renew()


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer.forget_in_child()


def _at_exit() -> None:
    """An interpreter that exits waits for what is being written, and does not end well over a failed save that nobody has heard of."""
    for writer in list(_writers):
        writer.finish()
    unheard = [writer._failed for writer in list(_writers) if writer._failed is not None]
    if unheard:
        for error in unheard:
            sys.stderr.write("A save failed in the background, and the program ended before it could be told:\n")
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


os.register_at_fork(after_in_child=_after_fork_in_child)
before_release_at_exit(_at_exit)
