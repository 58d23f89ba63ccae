"""A store of keys and values in this process, for workers that are threads."""

from __future__ import annotations

import threading
import time


class SharedKeyValues:
    """What TensorFlow's coordination service does, without processes.

    Attributes:
        has_ended: whether every call fails from now on.
        waiting: how many calls wait for a value now.
        unanswered: how many calls have waited in vain.
    """

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._changed = threading.Condition()
        self.has_ended = False
        self.waiting = self.unanswered = 0

    @property
    def keys(self) -> list[str]:
        with self._changed:
            return list(self._values)

    def put(self, key: str, value: str) -> bool:
        self._check()
        with self._changed:
            if key in self._values:
                return False
            self._values[key] = value
            self._changed.notify_all()
            return True

    def get(self, key: str, timeout_secs: float) -> str | None:
        until = time.monotonic() + timeout_secs
        with self._changed:
            self.waiting += 1
            self._changed.wait_for(
                lambda: key in self._values or self.has_ended, until - time.monotonic()
            )
            self.waiting -= 1
            self.unanswered += key not in self._values
            value = self._values.get(key)
        self._check()
        return value

    def delete(self, key: str) -> None:
        self._check()
        with self._changed:
            for each in list(self._values):
                if each == key or each.startswith(f"{key}/"):
                    del self._values[each]

    def end(self) -> None:
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()

    def _check(self) -> None:
        if self.has_ended:
            raise ConnectionError("the store has ended")
