"""Verifies the newest checkpoint while the training starts, and tells the training the result.

A training imports TensorFlow for seconds before it opens its run. Meanwhile this reads the newest
checkpoint, so that the training has to verify nothing and finds the bytes in the page cache.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from ckptkit.launcher.launcher_threads import start_or_warn
from ckptkit.layout import RunLayout
from ckptkit.log import logger
from ckptkit.run.checkpoint_catalog import list_checkpoints
from ckptkit.run.intact_verdict import IntactVerdict, verified
from ckptkit.run.verify import reading_budget_secs
from ckptkit.storage.mounts import bucket_mount


class _StoppedError(Exception):
    """Raised in the thread: the training needs no verdict any more, or reading is slow."""


class EarlyVerification:
    """Verifies one checkpoint on a thread, from `start` to `stop`.

    It writes nothing into the run and takes no lock. Whatever it finds wrong is left to the
    training, which verifies the checkpoint itself and knows what to do.

    It does not know what the training would read. So it reads nothing from a mounted bucket, where
    reading costs money, and gives up where reading takes longer than `verify="auto"` allows.

    Args:
        layout: the run.
        give: receives the verdict, on the thread; it may raise an `OSError`.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        layout: RunLayout,
        give: Callable[[IntactVerdict], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout, self._give, self._now = layout, give, now
        self._stopped = threading.Event()
        self._deadline = math.inf

    def start(self) -> None:
        """Start the thread; without one, the training verifies the checkpoint itself."""
        start_or_warn("ckptkit-verify", self._run)

    def stop(self) -> None:
        """Stop soon, without waiting: the storage of the run may hang."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            verdict = self._verified()
            if verdict is not None:
                self._continue(0)
                self._give(verdict)
        except _StoppedError:
            return
        except Exception as error:  # of the run, its storage or the channel
            logger.debug("the newest checkpoint was not verified early: %s", error)

    def _verified(self) -> IntactVerdict | None:
        if bucket_mount(self._layout.root) is not None:
            return None
        checkpoints = list_checkpoints(self._layout)
        if not checkpoints:
            return None
        newest = checkpoints[-1]
        self._deadline = self._now() + reading_budget_secs(newest.head.size_bytes)
        return verified(newest, self._continue)

    def _continue(self, _: int) -> None:
        if self._stopped.is_set() or self._now() > self._deadline:
            raise _StoppedError
