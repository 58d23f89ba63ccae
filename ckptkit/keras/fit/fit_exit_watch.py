"""Notices that an exception ends `fit`, also if the program catches it.

Keras calls no event then. The frames of `fit` live as long as the exception does: in an `except`
block, a notebook, a debugger. So the run would stay open until the exception is dropped.
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
"""The events of `CallbackList` that `fit` calls after its beginning."""


class FitExitWatch:
    """Reports exceptions that end a `fit`: those of its callbacks, and one that ends the program.

    Args:
        callback_list: the `CallbackList` of the `fit`. It is not kept alive.
        on_error: called with an exception that is on its way out of `fit`.
        on_exit: a method, called when the `fit` is gone without a report, on its thread or on one
            made for that. The object of the method is not kept alive.
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
        # Only the fit holds its list of callbacks, so the list goes when the fit does.
        weakref.finalize(
            callback_list, _call_exit, weakref.WeakMethod(on_exit), threading.current_thread()
        ).atexit = False

    def end(self) -> None:
        """Restores the interpreter's exception hook."""
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
    # The garbage collector runs on any thread, also on the writer's. Closing the run waits for
    # that one, so it must happen on another.
    open_managers.close_on_a_thread(call)


def _watched_event(
    callback_list: weakref.ref[Any], name: str, on_error: Callable[[BaseException], object]
) -> Callable[..., Any]:
    def event(*args: Any, **options: Any) -> Any:
        owner = callback_list()  # weakly: a reference cycle would keep the list after its fit
        try:
            try:
                return getattr(type(owner), name)(owner, *args, **options)
            except StopIteration as error:
                raise stop_iteration_error(name, error) from error
        except BaseException as error:
            on_error(error)
            raise

    return event
