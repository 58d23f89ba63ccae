"""Asks a source of notices again and again, and reports each change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from ckptkit.launcher.notices.metadata_client import Unavailable
from ckptkit.launcher.notices.notice import Notice
from ckptkit.log import logger

LONGEST_PAUSE_SECS = 5.0
"""The longest pause in seconds after a failed request, so that a notice of 30 s is not missed.
"""


class NoticeSource(Protocol):
    """The interface of a source of notices."""

    name: str
    pause_secs: float
    """Seconds between two calls of `look`."""

    def look(self) -> Notice | None:
        """Return the current notice, or None.

        Raises:
            Unavailable: If the source gives no usable answer.
        """
        ...


def follow(source: NoticeSource, tell: Callable[[Notice], None], stop: threading.Event) -> None:
    """Ask a source until `stop` is set, and report when a notice begins or is cancelled."""
    silence = _Silence(source.name)
    looks = Retrying(
        retry=retry_if_exception_type(Unavailable),
        wait=wait_random_exponential(multiplier=min(source.pause_secs, 1), max=LONGEST_PAUSE_SECS),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=silence.failed,
    )
    reported: Notice | None = None
    while not stop.is_set():
        try:
            notice = looks(source.look)
        except RetryError:
            return  # `stop` was set while the source did not answer
        silence.answered()
        if reported is not None and (notice is None or notice.reason != reported.reason):
            tell(replace(reported, grace_secs=0.0, cancelled=True))
            reported = None
        if notice is not None and reported is None:
            tell(notice)
            reported = notice
        stop.wait(source.pause_secs)


class _Silence:
    """Logs one line if a source stops answering, and one when it answers again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._silent = False

    def failed(self, state: RetryCallState) -> None:
        if not self._silent:
            self._silent = True
            error = state.outcome.exception() if state.outcome is not None else None
            logger.warning(
                "no answer about notices from %s (%s): training continues, and the source is "
                "asked again",
                self._name,
                error,
            )

    def answered(self) -> None:
        if self._silent:
            self._silent = False
            logger.info("%s answers about notices again", self._name)
