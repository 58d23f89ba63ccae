"""Noticing that an exception ends `fit`, whichever callback raised it, and whoever catches it.

Keras calls nobody then, and the frames of `fit` live as long as somebody holds the exception: an
`except` block, a notebook, a debugger.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

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
    """Tells of exceptions that end a `fit`: of one that a callback raises on its way out, and of
    one that ends the program.

    Args:
        callback_list: of the `fit`.
        failed: called with the exception.
        left: a method, called when `fit` is gone without a word, on its thread or on one made for
            that; its object is not kept alive.
    """

    def __init__(
        self,
        callback_list: Any,
        failed: Callable[[BaseException], object],
        left: Callable[[], object],
    ) -> None:
        self._failed = failed
        self._hook, sys.excepthook = sys.excepthook, self._on_uncaught
        self._over = False
        for name in EVENTS:
            setattr(callback_list, name, _watched(weakref.ref(callback_list), name, failed))
        # Nobody but the fit holds its list of callbacks, so the list goes when the fit does.
        weakref.finalize(
            callback_list, _call, weakref.WeakMethod(left), threading.current_thread()
        ).atexit = False

    def end(self) -> None:
        """Gives the interpreter its hook back."""
        if not self._over and sys.excepthook == self._on_uncaught:
            sys.excepthook = self._hook
        self._over = True

    def _on_uncaught(self, kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if not self._over:
            self._failed(error)
        self._hook(kind, error, traceback)


def _call(
    method: weakref.WeakMethod[Callable[[], object]], thread_of_fit: threading.Thread
) -> None:
    """The collector comes by on any thread, also on one that the end of the run waits for, as for
    the writer's: there, another one tells of it.
    """
    call = method()
    if call is None:
        return
    if threading.current_thread() is thread_of_fit:
        call()
        return
    open_managers.aside(call)


def _watched(
    callback_list: weakref.ref[Any], name: str, failed: Callable[[BaseException], object]
) -> Callable[..., Any]:
    def event(*args: Any, **options: Any) -> Any:
        owner = callback_list()  # weakly: a circle would keep the list alive after its fit
        try:
            return getattr(type(owner), name)(owner, *args, **options)
        except BaseException as error:
            failed(error)
            raise

    return event
