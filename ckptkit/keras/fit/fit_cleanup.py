"""Cleans up at the end of a `fit`: undoes its changes and closes the run.

Keras calls no event if an exception ends `fit`. The exception keeps the frames of `fit` alive in an
`except` block, a notebook or a debugger. So without `FitExitWatch`, the run would stay open until
the exception is deleted.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ckptkit.keras.fit.fit_stage import FitStage, FitStages
from ckptkit.keras.user_callbacks import OtherCallbacks, stop_iteration_error
from ckptkit.manager import CheckpointManager
from ckptkit.session import process_registry
from ckptkit.session.session import Session


class FitCleanup:
    """Undoes all changes of one `fit` to the model and the interpreter, and closes its run.

    Args:
        manager: the manager that has the run open.
        session: the session of this `fit`.
        others: the other callbacks.
        stages: the stage of the `fit`.
    """

    def __init__(
        self,
        manager: CheckpointManager,
        session: Session,
        others: OtherCallbacks,
        stages: FitStages,
    ) -> None:
        self._manager = manager
        self._session = session
        self._others = others
        self._stages = stages
        self._undo_always: list[Callable[[], object]] = []
        self._undo_on_failure: list[Callable[[], object]] = []
        self._leaving = threading.RLock()

    def add(self, undo: Callable[[], object]) -> None:
        """Add a function to call when the `fit` ends; it may be called more than once."""
        self._undo_always.append(undo)

    def add_on_failure(self, undo: Callable[[], object]) -> None:
        """Add a function that is called first if an error ends the `fit`."""
        self._undo_on_failure.append(undo)

    @property
    def is_open(self) -> bool:
        """Whether the run is open for this `fit`, and not for a later one with the same manager."""
        return self._manager.is_open and self._manager.open_session() is self._session

    def put_back(self) -> None:
        """Undo the changes to the model and the interpreter."""
        for undo in self._undo_always:
            undo()

    def prepare_exit(self) -> None:
        """Prepare for the end of the process, before which Keras calls no `on_train_end`.

        This undoes the changes to the model and the interpreter, and flushes and closes the files
        of the other callbacks.
        """
        self.put_back()
        self._others.flush()
        self._others.close()

    def fail(self, error: BaseException, *, close_files: bool = True) -> None:
        """Close the run because of an error.

        Args:
            error: the error that ended the `fit`.
            close_files: whether to close the event files of the other callbacks; by default yes.
        """
        for undo in self._undo_on_failure:
            undo()
        self.put_back()
        if close_files:
            self._others.close()
        self.close_run(error)

    def fail_if_open(self, error: BaseException) -> None:
        """Close the run because an exception is ending `fit`."""
        if self.is_open:
            self.fail(error)

    def abandon(self, *, close_files: bool = True) -> None:
        """Close the run, because an exception has ended `fit` and Keras calls no further event.

        Args:
            close_files: whether to close the event files of the other callbacks; by default yes.
        """
        # The thread that opens the run next must wait until this thread has closed it.
        with self._leaving:
            if self.is_open:
                self.fail(
                    RuntimeError("an exception outside of the training step ended fit early"),
                    close_files=close_files,
                )

    def close_run(self, error: BaseException | None) -> None:
        """Close the run.

        Args:
            error: the error that ended training, or None.
        """
        self._stages.move(FitStage.CLOSED)
        self._manager.close_session(error)


EVENTS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_begin",
    "on_test_end",
    "on_test_batch_begin",
    "on_test_batch_end",
    "on_train_end",
)
"""The methods of `CallbackList` that `fit` calls after its beginning."""


class FitExitWatch:
    """Reports an exception that ends a `fit`, from a callback or at the end of the program.

    Args:
        callback_list: the `CallbackList` of the `fit`. It is not kept alive.
        on_error: called with an exception that is leaving `fit`.
        on_exit: a method that is called if `fit` ended without another event, on the same or a new
            thread. The method's object is not kept alive.
    """

    def __init__(
        self,
        callback_list: Any,
        on_error: Callable[[BaseException], object],
        on_exit: Callable[[], object],
    ) -> None:
        self._on_error = on_error
        self._hook, sys.excepthook = sys.excepthook, self._on_uncaught
        self._ended = False
        for name in EVENTS:
            event = _watched_event(weakref.ref(callback_list), name, on_error)
            setattr(callback_list, name, event)
        # Only fit refers to its list of callbacks, so the list is deleted when fit ends.
        weakref.finalize(
            callback_list, _call_exit, weakref.WeakMethod(on_exit), threading.current_thread()
        ).atexit = False

    def end(self) -> None:
        """Restore the interpreter's exception hook."""
        if not self._ended and sys.excepthook == self._on_uncaught:
            sys.excepthook = self._hook
        self._ended = True

    def _on_uncaught(self, kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if not self._ended:
            self._on_error(error)
        self._hook(kind, error, traceback)


def _call_exit(
    method: weakref.WeakMethod[Callable[[], object]], thread_of_fit: threading.Thread
) -> None:
    call = method()
    if call is None:
        return
    if threading.current_thread() is thread_of_fit:
        call()
        return
    # The garbage collector runs on any thread, even on the writer's. To close the run waits for the
    # writer, so that must happen on another thread.
    process_registry.close_on_a_thread(call)


def _watched_event(
    callback_list: weakref.ref[Any], name: str, on_error: Callable[[BaseException], object]
) -> Callable[..., Any]:
    def event(*args: Any, **options: Any) -> Any:
        owner = callback_list()  # a weak reference: a cycle would keep the list alive after its fit
        try:
            try:
                return getattr(type(owner), name)(owner, *args, **options)
            except StopIteration as error:
                raise stop_iteration_error(name, error) from error
        except BaseException as error:
            on_error(error)
            raise

    return event
