"""Requests to a training process: save now, or save and stop. One small file, which the training
looks at once a second.

A request names the attempt that it is for, so that one that is left over means nothing to the next;
no two clocks have to agree.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ckptkit.layout import RunLayout
from ckptkit.ownership.process_lock import read_small
from ckptkit.storage.files import TEMPORARY, FileSystem
from ckptkit.storage.symlinks import refuse_links

REQUEST_VERSION = 1
ANY_ATTEMPT = 0
"""In a launcher's channel, where whoever reads is meant."""


@dataclass(frozen=True, kw_only=True)
class ControlRequest:
    """What somebody wants of a training process.

    Args:
        id: of this request; no two have the same.
        action: `save` now and go on; or `stop`: save, then end.
        attempt: for whom; `ANY_ATTEMPT` is for whoever reads it.
        at: when it was written, in seconds since the epoch.
        source: who asks and why, in words.
        grace_secs: how long after `at` the machine goes away; None where nobody said.
        cancelled: a notice that does not hold any more.
        launcher: with `stop`, the id of the launcher that is meant as well, where no training is
            there yet or any more; else empty.
        version: of the form.
    """

    id: str
    action: Literal["save", "stop"]
    attempt: int
    at: float
    source: str
    grace_secs: float | None = None
    cancelled: bool = False
    launcher: str = ""
    version: int = REQUEST_VERSION

    def left_secs(self, now: float) -> float | None:
        """Seconds until the machine goes away, by a clock that may be another than the writer's:
        never more than the grace.
        """
        return (
            None
            if self.grace_secs is None
            else min(max(self.grace_secs - (now - self.at), 0.0), self.grace_secs)
        )


def new_id() -> str:
    """An id that no other request has."""
    return uuid.uuid4().hex


def ask(files: FileSystem, layout: RunLayout, request: ControlRequest) -> None:
    """Leaves a request in a run; one that is there is replaced.

    Raises:
        StorageError: where the disk refuses.
    """
    refuse_links(layout)
    files.make_dir(layout.control)
    path = layout.request
    files.remove_file(
        path.with_name(path.name + TEMPORARY)
    )  # what a link of that name leads to is not ours to overwrite
    files.replace_content(path, encode_request(request))


def withdraw(files: FileSystem, layout: RunLayout, request: ControlRequest) -> None:
    """Takes a request away, where it is still the one that is there.

    Raises:
        StorageError: where the disk refuses.
    """
    if (present := read_request(layout.request)) is not None and present.id == request.id:
        files.remove_file(layout.request)


def encode_request(request: ControlRequest) -> bytes:
    """A request as the content of its file."""
    return msgspec.json.encode(request) + b"\n"


def read_request(path: Path) -> ControlRequest | None:
    """What a file asks for; None where it is not there, damaged, or of a later version."""
    try:
        return decode_request(read_small(path))
    except OSError:
        return None


def decode_request(content: bytes) -> ControlRequest | None:
    """What the content of such a file asks for; None where it is damaged, or of a later version."""
    try:
        request = msgspec.json.decode(content, type=ControlRequest)
    except (ValueError, RecursionError):
        return None
    return request if request.version <= REQUEST_VERSION else None


class Mailbox:
    """Looks for new requests at one place; a look is one `stat` where nothing has changed.

    Args:
        path: the file.
        attempt: whose requests are meant; `ANY_ATTEMPT` in a launcher's channel.
        on_request: told each request once, on the thread that looks.
    """

    def __init__(
        self, path: Path, attempt: int, on_request: Callable[[ControlRequest], None]
    ) -> None:
        self._path, self._attempt, self._on_request = path, attempt, on_request
        self._seen: tuple[int, int] | None = None
        self._last = ""
        self._guard = threading.Lock()

    def look(self) -> None:
        """Hands on what is new; from any thread."""
        with self._guard:
            self._look()

    def _look(self) -> None:
        try:
            status = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return
        seen = (status.st_ino, status.st_mtime_ns)
        if seen == self._seen:
            return
        try:
            content = read_small(self._path)
        except OSError:
            return  # storage that fails now and then: it is read at the next look
        self._seen = seen
        request = decode_request(content)
        if request is not None and request.id != self._last and request.attempt == self._attempt:
            self._last = request.id
            self._on_request(request)
