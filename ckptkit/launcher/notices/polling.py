"""Asks a source again and again, and reports what has changed."""

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
"""Between two tries without an answer: a notice of 30 seconds must not fall into the pause.
"""


class NoticeSource(Protocol):
    """Source that knows whether the machine will go away."""

    name: str
    pause_secs: float
    """Between two looks."""

    def look(self) -> Notice | None:
        """Return the notice that holds now, or None.

        Raises:
            Unavailable: If that is not known now.
        """
        ...


def follow(source: NoticeSource, tell: Callable[[Notice], None], stop: threading.Event) -> None:
    """Look until `stop` is set; pass on each new notice once, and once more if it is cancelled."""
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
            return  # `stop` was set while there was no answer
        silence.answered()
        if reported is not None and (notice is None or notice.reason != reported.reason):
            tell(replace(reported, grace_secs=0.0, cancelled=True))
            reported = None
        if notice is not None and reported is None:
            tell(notice)
            reported = notice
        stop.wait(source.pause_secs)


class _Silence:
    """Logs one line when a source stops answering, and one when it answers again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._silent = False

    def failed(self, state: RetryCallState) -> None:
        if not self._silent:
            self._silent = True
            error = state.outcome.exception() if state.outcome is not None else None
            logger.warning(
                "no answer about notices from %s (%s): training continues, and it is asked again",
                self._name,
                error,
            )

    def answered(self) -> None:
        if self._silent:
            self._silent = False
            logger.info("%s answers about notices again", self._name)
