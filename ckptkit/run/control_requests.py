"""Writes and reads requests to a training process: save now, or save and stop.

A request is a small file, which the training polls once a second. It names the attempt that has to
serve it, so the next attempt ignores an old request. The clocks of both processes may differ.
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
from ckptkit.ownership.kernel_lock import read_small
from ckptkit.storage.files import TEMPORARY, FileSystem
from ckptkit.storage.json_bytes import json_bytes
from ckptkit.storage.symlinks import refuse_links

REQUEST_VERSION = 1
ANY_ATTEMPT = 0
"""The attempt number of requests in a launcher's channel, which any reading process serves."""


@dataclass(frozen=True, kw_only=True)
class ControlRequest:
    """A request of a user or a program to a training process.

    Args:
        id: the unique id of this request.
        action: `save` now and continue; or `stop`: save, then end.
        attempt: the attempt that has to serve it; `ANY_ATTEMPT` for any attempt.
        at: when it was written, in seconds since the epoch.
        source: who made the request and why, in words.
        grace_secs: how long after `at` the machine goes away; None if that is unknown.
        cancelled: whether this cancels an earlier notice.
        launcher: for `stop`, the id of the launcher that must stop too; else empty. The launcher
            may have no running training at the moment.
        version: the version of this format.
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
        """Return the seconds until the machine goes away.

        The result is at most `grace_secs`, because `now` may come from a different clock than `at`.
        """
        return (
            None
            if self.grace_secs is None
            else min(max(self.grace_secs - (now - self.at), 0.0), self.grace_secs)
        )


def new_id() -> str:
    """Return an id that no other request has."""
    return uuid.uuid4().hex


def ask(files: FileSystem, layout: RunLayout, request: ControlRequest) -> None:
    """Write a request into a run; it replaces an earlier request.

    Raises:
        StorageError: If the disk refuses.
    """
    refuse_links(layout)
    files.make_dir(layout.control)
    path = layout.request
    # If this name is a link, its target may belong to something else and must not be overwritten.
    files.remove_file(path.with_name(path.name + TEMPORARY))
    files.replace_content(path, encode_request(request))


def withdraw(files: FileSystem, layout: RunLayout, request: ControlRequest) -> None:
    """Remove a request, unless another one has replaced it.

    Raises:
        StorageError: If the disk refuses.
    """
    if (present := read_request(layout.request)) is not None and present.id == request.id:
        files.remove_file(layout.request)


def encode_request(request: ControlRequest) -> bytes:
    """Return the content of a request's file."""
    return json_bytes(request) + b"\n"


def read_request(path: Path) -> ControlRequest | None:
    """Return the request in a file; None if it is missing, damaged, or from a later version."""
    try:
        return decode_request(read_small(path))
    except OSError:
        return None


def decode_request(content: bytes) -> ControlRequest | None:
    """Return the request with this content; None if it is damaged or from a later version."""
    try:
        request = msgspec.json.decode(content, type=ControlRequest)
    except (ValueError, RecursionError):
        return None
    return request if request.version <= REQUEST_VERSION else None


class Mailbox:
    """Polls one file for new requests; a poll without a new request costs one `stat`.

    Args:
        path: the file.
        attempt: the attempt whose requests count; `ANY_ATTEMPT` in a launcher's channel.
        on_request: called once with each request, on the polling thread.
    """

    def __init__(
        self, path: Path, attempt: int, on_request: Callable[[ControlRequest], None]
    ) -> None:
        self._path, self._attempt, self._on_request = path, attempt, on_request
        self._seen: tuple[int, int] | None = None
        self._last = ""
        self._guard = threading.Lock()

    def look(self) -> None:
        """Check for a new request and pass it on; may be called from any thread."""
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
            return  # storage may fail for a moment: the next call tries again
        self._seen = seen
        request = decode_request(content)
        if request is not None and request.id != self._last and request.attempt == self._attempt:
            self._last = request.id
            self._on_request(request)
