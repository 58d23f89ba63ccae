"""Ends the open line of Keras' progress bar before a log line is printed."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterable
from typing import Any

import keras

from ckptkit.compat import progress_bar
from ckptkit.log import begin_new_line_after


class OpenBarLine:
    """Makes each log line begin a line of its own after the progress bar of a `fit`.

    Args:
        callbacks: all callbacks of the `fit`.
    """

    def __init__(self, callbacks: Iterable[Any]) -> None:
        # Not kept alive, because it holds the model and the log outlives both.
        self._bar = next(
            (
                weakref.ref(each)
                for each in callbacks
                if isinstance(each, keras.callbacks.ProgbarLogger)
            ),
            lambda: None,
        )
        self._ended: Hashable | None = None
        begin_new_line_after(self._open_line)

    def epoch_ended(self) -> None:
        """Note that the bar has ended its line; call this after the bar's own end of the epoch."""
        self._ended = progress_bar.shown_line(self._bar())

    def _open_line(self) -> Hashable | None:
        shown = progress_bar.shown_line(self._bar())
        return None if shown == self._ended else shown
