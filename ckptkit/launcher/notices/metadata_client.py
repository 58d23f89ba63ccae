"""Sends one request to a metadata server, bounded in time and size, without proxies or redirects.

A metadata server has a link-local address, so requests must not go through a proxy (`http_proxy`).
`http.client` supports neither proxies nor redirects.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

MOST_BYTES = 1 << 20
T = TypeVar("T")


class Unavailable(Exception):
    """A metadata server gave no usable answer; it is asked again later."""


@dataclass(frozen=True)
class MetadataAnswer:
    """The answer of a metadata server.

    Args:
        status: the HTTP status.
        headers: the headers, with names in lower case.
        body: the body, at most `MOST_BYTES` long.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def sent(self, otherwise: float) -> float:
        """Return the server's time in seconds since the epoch; `otherwise` if it sends none.

        Announced times are by the server's clock, and this machine's clock may be hours off.
        """
        try:
            return parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError, OverflowError, OSError):
            return otherwise


def ask(method: str, url: str, headers: Mapping[str, str], timeout_secs: float) -> MetadataAnswer:
    """Send one request to a metadata server.

    Args:
        method: "GET" or "PUT"; the request has no body.
        url: an `http` URL.
        headers: the headers of the request.
        timeout_secs: the limit for the connection and for each part of the answer; the whole answer
            may take twice that.

    Raises:
        Unavailable: If the answer is incomplete in time, or longer than `MOST_BYTES`.
    """
    deadline = time.monotonic() + 2 * timeout_secs
    try:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=timeout_secs
        )
        connection.connect()
        connected = connection.sock
        try:
            # A time limit of each read would start again with each byte: a server that sends its
            # header byte by byte would silence this source for ever.
            connection.sock = _BoundedSocket(connected, timeout_secs, deadline)
            connection.request(
                method,
                parts.path + ("?" + parts.query if parts.query else ""),
                headers=dict(headers),
            )
            response = connection.getresponse()
            body = response.read(MOST_BYTES + 1)
            if len(body) > MOST_BYTES:
                raise Unavailable(f"an answer of more than {MOST_BYTES} bytes")
            return MetadataAnswer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                body,
            )
        finally:
            connected.close()
    except TimeoutError as error:
        over = time.monotonic() >= deadline
        raise Unavailable(
            f"no complete answer in {2 * timeout_secs:g} s" if over else "timed out"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


class _BoundedSocket:
    """A socket whose reads and writes end at one deadline, as `http.client` uses one.

    Args:
        connected: the socket.
        timeout_secs: for each read and write.
        deadline: for all of them, by the monotonic clock.
    """

    def __init__(self, connected: socket.socket, timeout_secs: float, deadline: float) -> None:
        self._socket, self._timeout_secs, self._deadline = connected, timeout_secs, deadline

    def ready(self) -> socket.socket:
        """Return the socket, with the time limit of the next read or write.

        Raises:
            TimeoutError: If the deadline is over.
        """
        left_secs = self._deadline - time.monotonic()
        if left_secs <= 0:
            raise TimeoutError
        self._socket.settimeout(min(self._timeout_secs, left_secs))
        return self._socket

    def sendall(self, data: bytes) -> None:
        """Send everything, or raise `TimeoutError`."""
        self.ready().sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the answer as a file; it is only read."""
        return io.BufferedReader(_BoundedReader(self))

    def close(self) -> None:
        """Do nothing: `http.client` closes it before it reads the body, and `ask` at the end."""


class _BoundedReader(io.RawIOBase):
    """What a bounded socket receives."""

    def __init__(self, bounded: _BoundedSocket) -> None:
        self._bounded = bounded

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._bounded.ready().recv_into(buffer)


def expect(answer: MetadataAnswer, url: str) -> MetadataAnswer:
    """Return the answer if its status is 200.

    Raises:
        Unavailable: If its status is different.
    """
    if answer.status != 200:
        raise Unavailable(f"{url} answered {answer.status}")
    return answer


def decode(body: bytes, kind: type[T]) -> T:
    """Decode JSON as a value of the expected type.

    Raises:
        Unavailable: If it is not JSON, or has another type.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Unavailable(f"an answer that cannot be read: {error}") from error
