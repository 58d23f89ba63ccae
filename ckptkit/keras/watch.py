"""Noticing at once that an exception leaves `fit`, whichever callback raised it.

Keras calls nobody then, and the frames of `fit` live as long as somebody holds the exception: an `except` block, a notebook, a debugger.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

EVENTS = ("on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end", "on_test_begin", "on_test_end",
          "on_test_batch_begin", "on_test_batch_end", "on_train_end")
"""The events of `CallbackList` that `fit` calls after its beginning."""


def watch(callback_list: Any, failed: Callable[[BaseException], object]) -> None:
    """Tells of every exception that a callback raises, on its way out of `fit`.

    Args:
        callback_list: of the `fit`.
        failed: called with the exception.
    """
    for name in EVENTS:
        setattr(callback_list, name, _watched(weakref.ref(callback_list), name, failed))


def _watched(callback_list: weakref.ref[Any], name: str, failed: Callable[[BaseException], object]) -> Callable[..., Any]:
    def event(*args: Any, **options: Any) -> Any:
        owner = callback_list()  # weakly: a circle would keep the list alive after its fit
        try:
            return getattr(type(owner), name)(owner, *args, **options)
        except BaseException as error:
            failed(error)
            raise

    return event
