"""Verifies the newest checkpoint while the training starts, and tells the training the result.

A training imports TensorFlow for seconds before it opens its run. Meanwhile this reads the newest
checkpoint, so that the training has to verify nothing and finds the bytes in the page cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ckptkit.launcher.launcher_threads import start_or_warn
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.intact_verdict import IntactVerdict, verified


class _StoppedError(Exception):
    """Raised in the thread, because the training does not need the verdict any more."""


class EarlyVerification:
    """Verifies one checkpoint on a thread, from `start` to `stop`.

    It writes nothing into the run and takes no lock. Whatever it finds wrong is left to the
    training, which verifies the checkpoint itself and knows what to do.

    Args:
        layout: the run.
        give: receives the verdict, on the thread; it may raise an `OSError`.
    """

    def __init__(self, layout: RunLayout, give: Callable[[IntactVerdict], None]) -> None:
        self._layout, self._give = layout, give
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread; without one, the training verifies the checkpoint itself."""
        start_or_warn("ckptkit-verify", self._run)

    def stop(self) -> None:
        """Stop soon, without waiting: the storage of the run may hang."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            checkpoints = list_checkpoints(self._layout)
            verdict = verified(checkpoints[-1], self._continue) if checkpoints else None
            if verdict is not None:
                self._continue(0)
                self._give(verdict)
        except _StoppedError:
            return
        except Exception as error:  # of the run, its storage or the channel
            logger.debug("the newest checkpoint was not verified early: %s", error)

    def _continue(self, _: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError
