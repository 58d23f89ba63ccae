"""A metadata server on loopback that behaves as those of the three clouds do, their refusals and
bad moments included.

What it refuses, as the real ones: Compute Engine a request without `Metadata-Flavor: Google` (403);
EC2 one without a token that holds (401), a token without a time to live (400); Azure one without
`Metadata: true` or without a version (400); all of them what came through a proxy.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Trouble = Callable[["_Handler"], None]


class Metadata:
    """What the clouds know. Attributes may be set at any time; `announce` is for what requests wait
    for.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.requests: list[str] = []
        self.trouble: deque[Trouble] = deque()
        self.skew_secs = 0.0
        self.preempted = "FALSE"
        self.maintenance = "NONE"
        self.edition = 1
        self.tokens: set[str] = set()
        self.action: dict[str, str] | None = None
        self.rebalance: dict[str, str] | None = None
        self.machine = "trainer-7"
        self.events: list[dict[str, Any]] = []
        self.first_answer_secs = 0.0
        self.address = ""

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def environ(self) -> dict[str, str]:
        """The clouds' addresses, for a watcher or for a process."""
        return {
            "GCE_METADATA_HOST": self.address,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
            "AZURE_IMDS_ENDPOINT": self.url,
        }

    def now(self) -> float:
        return time.time() + self.skew_secs

    def announce(self, cloud: str, secs: float = 100.0, **values: Any) -> None:
        """This machine will go away."""
        with self.changed:
            if cloud == "gce":
                self.preempted = "TRUE"
            elif cloud == "aws":
                self.action = {
                    "action": "terminate",
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now() + secs)),
                    **values,
                }
            else:
                self.events = [*self.events, self.event(secs, **values)]
            self.edition += 1
            self.changed.notify_all()

    def event(self, secs: float, **values: Any) -> dict[str, Any]:
        return {
            "EventId": f"{secrets.token_hex(4)}",
            "EventStatus": "Scheduled",
            "EventType": "Preempt",
            "ResourceType": "VirtualMachine",
            "Resources": [self.machine],
            "NotBefore": formatdate(self.now() + secs, usegmt=True),
            "Description": "",
            "EventSource": "Platform",
            "DurationInSeconds": -1,
            **values,
        }

    def asked(self, part: str) -> int:
        """How many requests had this in their path."""
        return sum(part in request for request in self.requests)


@contextmanager
def metadata(port: int = 0) -> Iterator[Metadata]:
    """A server, for as long as the block lasts; on a free port, or on this one."""
    state = Metadata()

    class Handler(_Handler):
        metadata = state

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    state.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    metadata: Metadata

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def version_string(self) -> str:
        return "metadata"

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(self.metadata.now(), usegmt=True)

    def do_PUT(self) -> None:
        self._answer_to(self._put)

    def do_GET(self) -> None:
        self._answer_to(self._get)

    def _answer_to(self, usual: Callable[[], None]) -> None:
        self.metadata.requests.append(f"{self.command} {self.path}")
        try:
            if self.metadata.trouble:
                self.metadata.trouble.popleft()(self)
            elif (
                "X-Forwarded-For" in self.headers
                or "Via" in self.headers
                or self.path.startswith("http")
            ):
                self.say(403, "through a proxy")
            else:
                usual()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the watcher did not wait

    def say(self, status: int, body: str | bytes, **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(data)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _put(self) -> None:
        if self.path != "/latest/api/token":
            return self.say(404, "")
        if not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "").isdigit():
            return self.say(400, "")
        token = secrets.token_urlsafe(40) + "=="
        self.metadata.tokens.add(token)
        self.say(
            200,
            token,
            X_Aws_Ec2_Metadata_Token_Ttl_Seconds=self.headers[
                "X-aws-ec2-metadata-token-ttl-seconds"
            ],
        )

    def _get(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.startswith("/computeMetadata/v1/"):
            self._gce(parts.path.removeprefix("/computeMetadata/v1/instance/"), query)
        elif parts.path.startswith("/latest/meta-data/"):
            self._aws(parts.path.removeprefix("/latest/meta-data/"))
        elif parts.path.startswith("/metadata/"):
            self._azure(parts.path.removeprefix("/metadata/"), query)
        else:
            self.say(404, "")

    def _gce(self, key: str, query: dict[str, str]) -> None:
        if self.headers.get("Metadata-Flavor") != "Google":
            return self.say(403, "Missing Metadata-Flavor:Google header.")
        state = self.metadata
        with state.changed:
            if query.get("wait_for_change") == "true":
                before = query.get("last_etag", f"{state.edition:016x}")
                state.changed.wait_for(
                    lambda: before != f"{state.edition:016x}",
                    timeout=float(query.get("timeout_sec", 60)),
                )
            values = {"preempted": state.preempted, "maintenance-event": state.maintenance}
            status, value, tag = (
                (200, values[key], f"{state.edition:016x}") if key in values else (404, "", "0")
            )
        self.say(status, value, Metadata_Flavor="Google", ETag=tag, Content_Type="application/text")

    def _aws(self, key: str) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") not in self.metadata.tokens:
            return self.say(401, "")
        value = {
            "spot/instance-action": self.metadata.action,
            "events/recommendations/rebalance": self.metadata.rebalance,
        }.get(key)
        self.say(404, "<?xml version='1.0'?><html/>") if value is None else self.say(
            200, json.dumps(value)
        )

    def _azure(self, key: str, query: dict[str, str]) -> None:
        if self.headers.get("Metadata") != "true" or "api-version" not in query:
            return self.say(
                400, json.dumps({"error": "Bad request. Required metadata header not specified"})
            )
        if key == "instance/compute/name":
            return self.say(200, self.metadata.machine)
        if key != "scheduledevents":
            return self.say(404, "")
        wait, self.metadata.first_answer_secs = self.metadata.first_answer_secs, 0.0
        time.sleep(wait)
        self.say(
            200,
            json.dumps(
                {"DocumentIncarnation": self.metadata.edition, "Events": self.metadata.events}
            ),
        )


def status(code: int, **headers: str) -> Trouble:
    """An answer that is none."""
    return lambda handler: handler.say(code, "<html>Service Unavailable</html>", **headers)


def body(data: bytes) -> Trouble:
    """A good answer with a bad body."""
    return lambda handler: handler.say(200, data, Metadata_Flavor="Google", ETag="0000000000000001")


def hang(secs: float) -> Trouble:
    """No answer for so long."""

    def trouble(handler: _Handler) -> None:
        time.sleep(secs)
        handler.say(503, "")

    return trouble


def trickle(handler: _Handler) -> None:
    """An answer that never ends, a byte at a time."""
    handler.send_response(200)
    handler.send_header("Metadata-Flavor", "Google")
    handler.end_headers()
    for _ in range(60):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def drip(handler: _Handler) -> None:
    """An answer whose header comes a byte at a time, each soon enough for itself."""
    for byte in b"HTTP/1.0 200 OK\r\nMetadata-Flavor: Google\r\n\r\n":
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def huge(handler: _Handler) -> None:
    """An answer that would fill the memory."""
    handler.send_response(200)
    handler.send_header("Metadata-Flavor", "Google")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"x" * (1 << 16))


def hang_up(handler: _Handler) -> None:
    """A connection that closes without an answer."""
    handler.close_connection = True


def babble(handler: _Handler) -> None:
    """What is no HTTP."""
    handler.wfile.write(bytes(range(1, 200)) + b"\r\n\r\n")
    handler.close_connection = True
