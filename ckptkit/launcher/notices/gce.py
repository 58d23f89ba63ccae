"""Notices of Google Compute Engine.

Sources: https://cloud.google.com/compute/docs/instances/create-use-spot (`instance/preempted`, 30
s), https://cloud.google.com/compute/docs/metadata/getting-live-migration-notice
(`instance/maintenance-event`, 60 s; up to an hour with a GPU),
https://cloud.google.com/compute/docs/metadata/querying-metadata (`wait_for_change`, `last_etag`,
`timeout_sec`, and 503).
"""

from __future__ import annotations

from collections.abc import Mapping

from ckptkit.clock import Clock
from ckptkit.launcher.notices.firmware import Firmware
from ckptkit.launcher.notices.metadata_client import MetadataAnswer, Unavailable, ask, expect
from ckptkit.launcher.notices.notice import Notice

PREEMPTION_SECS = 30.0
MAINTENANCE_SECS = 60.0


def is_preempted(body: bytes) -> bool:
    """Return whether an answer of `instance/preempted` says that the machine is preempted.

    Raises:
        Unavailable: If the answer is neither TRUE nor FALSE.
    """
    word = body.strip()
    if word not in (b"TRUE", b"FALSE"):
        raise Unavailable(f"instance/preempted is {word[:40]!r}, neither TRUE nor FALSE")
    return word == b"TRUE"


def is_terminated(body: bytes) -> bool:
    """Return whether an answer of `instance/maintenance-event` announces the machine's end.

    MIGRATE_ON_HOST_MAINTENANCE only moves the running machine.
    """
    return body.strip() == b"TERMINATE_ON_HOST_MAINTENANCE"


class Gce:
    """Asks Compute Engine's metadata server for preemption and maintenance.

    One request waits for `preempted` to change; between two of them, another asks for maintenance.

    Args:
        environ: `GCE_METADATA_HOST` is the server's `host` or `host:port`, as in Google's own
            libraries; by default its link-local address, which needs no name server.
        clock: not used, as this server announces no times.
        wait_secs: how long the server may wait for a change before it answers.
        timeout_secs: the further time to wait for an answer.
    """

    name = "gce"
    pause_secs = 0.2  # the server itself waits; this pause only protects a server that does not

    def __init__(
        self,
        environ: Mapping[str, str],
        clock: Clock | None = None,
        *,
        wait_secs: float = 10,
        timeout_secs: float = 3.0,
    ) -> None:
        host = environ.get("GCE_METADATA_HOST") or "169.254.169.254"
        self._root = f"http://{host}/computeMetadata/v1/instance/"
        self._wait_secs = wait_secs
        self._timeout_secs = timeout_secs
        self._seen: str | None = None

    @staticmethod
    def is_here(firmware: Firmware) -> bool:
        """Return whether a machine with this firmware belongs to Compute Engine."""
        return firmware.product_name == "Google Compute Engine"

    def look(self) -> Notice | None:
        """Ask for the current notice; from the second call on, wait for a change.

        Raises:
            Unavailable: If the server is not Compute Engine's, or gives no answer.
        """
        if self._preempted():
            return Notice(self.name, PREEMPTION_SECS, "Compute Engine preempts this instance")
        if self._terminated():
            return Notice(
                self.name,
                MAINTENANCE_SECS - self._wait_secs,
                "Compute Engine ends this instance for the maintenance of its host",
            )
        return None

    def _preempted(self) -> bool:
        query, timeout_secs = "", self._timeout_secs
        if self._seen is not None:
            # With the tag of the last answer, a change between two requests is not missed.
            query = f"?wait_for_change=true&timeout_sec={self._wait_secs:g}&last_etag={self._seen}"
            timeout_secs += self._wait_secs
        self._seen = None  # after a failure, look before waiting
        answer = self._get("preempted" + query, timeout_secs)
        preempted = is_preempted(expect(answer, "instance/preempted").body)
        tag = answer.headers.get("etag", "")
        self._seen = tag if tag.isalnum() and tag.isascii() else None
        return preempted

    def _terminated(self) -> bool:
        answer = self._get("maintenance-event", self._timeout_secs)
        return answer.status != 404 and is_terminated(
            expect(answer, "instance/maintenance-event").body
        )

    def _get(self, key: str, timeout_secs: float) -> MetadataAnswer:
        answer = ask("GET", self._root + key, {"Metadata-Flavor": "Google"}, timeout_secs)
        if answer.headers.get("metadata-flavor") != "Google":
            raise Unavailable(
                f"{self._root} answered {answer.status} without 'Metadata-Flavor: Google': it is "
                f"not Compute Engine's server"
            )
        return answer
