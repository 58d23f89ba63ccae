"""Detects that an exception has ended `fit`, even if the program catches it.

Keras calls no event in this case. The exception keeps the frames of `fit` alive in an `except`
block, a notebook or a debugger. So without this watch, the run would stay open until the exception
is deleted.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ckptkit.keras.callback_list import stop_iteration_error
from ckptkit.session import open_managers

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
        on_exit: a method that is called when the `fit` is gone without a report, on its thread or
            on a new thread. The object of the method is not kept alive.
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
    open_managers.close_on_a_thread(call)


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
