"""Wait until something is true, with a limit and a message that says what was waited for."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tests.support.processes import Process

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    timeout_secs: float = 60,
    *,
    process: Process | None = None,
    every_secs: float = 0.02,
) -> T:
    """Call `condition` until it returns something true, and return that.

    Args:
        condition: what to wait for. It is quoted in the message, so a lambda explains itself.
        timeout_secs: how long to wait at most. Be generous: a test machine may be slow.
        process: the process that is to bring it about; the wait fails at once if it ends.
        every_secs: how long to sleep between two calls.

    Raises:
        AssertionError: If the time is over, or the process has ended.
    """
    end = time.monotonic() + timeout_secs
    while not (found := condition()):
        if process is not None:
            code = process.poll()
            if code is not None and not condition():
                raise AssertionError(
                    f"{process!r} has ended before {_source(condition)}\n{process.output()}"
                )
        if time.monotonic() > end:
            output = "" if process is None else f"\n{process.output()}"
            raise AssertionError(
                f"not true within {timeout_secs:g} s: {_source(condition)}{output}"
            )
        time.sleep(every_secs)
    return found


def _source(condition: Callable[[], object]) -> str:
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)
