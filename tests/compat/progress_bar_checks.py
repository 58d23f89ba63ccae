"""Checks of `ckptkit/compat/progress_bar.py`: one function for each name."""

from __future__ import annotations

import time

import keras

from ckptkit.compat import progress_bar
from tests.compat.small_model import model, x, y


def shown_line():
    logger = keras.callbacks.ProgbarLogger()
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            time.sleep(0.06)  # the bar is drawn at most every 50 ms

        def on_train_batch_end(self, batch, logs=None):
            seen.append(progress_bar.shown_line(logger))

    for verbose in (1, 2, 0):
        seen.clear()
        model().fit(x, y, batch_size=4, verbose=verbose, callbacks=[logger, Look()])
        assert len(seen) > 1
        if verbose == 1:
            assert None not in seen
            assert len(set(seen)) == len(seen), "each line that is drawn is another one"
        else:
            assert set(seen) == {None}
    assert progress_bar.shown_line(None) is None
