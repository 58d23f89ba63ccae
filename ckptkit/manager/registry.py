"""Which manager of this process has which run open: a second one closes the first, unless that one is training."""

from __future__ import annotations

import os
import threading
from typing import Any

from ckptkit.errors import RunLockedError
from ckptkit.store.layout import RunLayout

_open: dict[str, Any] = {}
_guard = threading.RLock()  # the collector may come by inside, and close the run of a `fit` that was left


def take_over(layout: RunLayout, manager: Any) -> None:
    """Closes another manager of this process that has the run open.

    Raises:
        RunLockedError: where that one is training now.
    """
    with _guard:
        other = _open.get(_key(layout))
    if other is None or other is manager or not other.is_open:
        return
    if other.is_training:
        raise RunLockedError(f"The run in {layout.root} is being trained by another manager or callback of this process. Expected one at a "
                             f"time: let that one end, or name another directory.")
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


os.register_at_fork(after_in_child=_open.clear)  # what the parent has open is not the child's to close


def _key(layout: RunLayout) -> str:
    return str(layout.root.resolve())
