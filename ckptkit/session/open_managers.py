"""Which manager of this process has which run open: a second one closes the first, unless that one
is training.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from ckptkit.errors import RunLockedError
from ckptkit.layout import RunLayout
from ckptkit.log import logger

_open: dict[str, Any] = {}
_letting_go: set[threading.Thread] = set()
_guard = (
    threading.RLock()
)  # the collector may come by inside, and close the run of a `fit` that was left


def take_over(layout: RunLayout, manager: Any) -> None:
    """Closes another manager of this process that has the run open.

    Raises:
        RunLockedError: where that one is training now.
    """
    for thread in list(_letting_go):
        if thread is not threading.current_thread():
            thread.join()
    with _guard:
        other = _open.get(_key(layout))
    if other is None or other is manager or not other.is_open:
        return
    if other.is_training:
        raise RunLockedError(
            f"The run in {layout.root} is being trained by another manager or callback of this "
            "process. Expected one at a "
            f"time: let that one end, or name another directory."
        )
    other.let_go(None)


def opened(layout: RunLayout, manager: Any) -> None:
    """Notes who has the run open."""
    with _guard:
        _open[_key(layout)] = manager


def closed(layout: RunLayout, manager: Any) -> None:
    """Notes that the run is not open any more."""
    with _guard:
        if _open.get(_key(layout)) is manager:
            del _open[_key(layout)]


def aside(let_go: Callable[[], object]) -> None:
    """Has a run let go of on a thread of its own; whoever opens a run next waits for it, and so
    does the interpreter.
    """

    def work() -> None:
        try:
            let_go()
        finally:
            _letting_go.discard(thread)

    thread = threading.Thread(target=work, name="ckptkit-left")
    _letting_go.add(thread)
    try:
        thread.start()
    # no further thread, or the interpreter is on its way out: it lets go of the run as well
    except RuntimeError as error:
        _letting_go.discard(thread)
        logger.debug("a fit was left, and nothing could be told of it: %s", error)


def _forget() -> None:
    _open.clear()
    _letting_go.clear()


os.register_at_fork(after_in_child=_forget)  # what the parent has open is not the child's to close


def _key(layout: RunLayout) -> str:
    return str(layout.root.resolve())
