"""Notices of Amazon EC2.

Sources: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
(`spot/instance-action`: two minutes before, best effort, to be polled every 5 seconds),
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
(IMDSv2: get a token first; status 401 if it has expired),
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from ckptkit.clock import Clock
from ckptkit.launcher.notices.firmware import Firmware
from ckptkit.launcher.notices.metadata_client import (
    MetadataAnswer,
    Unavailable,
    ask,
    decode,
    expect,
)
from ckptkit.launcher.notices.notice import Notice, left, printable
from ckptkit.log import logger

NOTICE_SECS = 120.0
TOKEN_SECS = 21600
_TOKEN = "X-aws-ec2-metadata-token"


class _Action(msgspec.Struct):
    action: str
    time: str


def notice_of(body: bytes, now: float) -> Notice:
    """Return the notice that an answer of `spot/instance-action` contains.

    Args:
        body: the answer.
        now: the server's time, in seconds since the epoch.

    Raises:
        Unavailable: If the answer cannot be read.
    """
    action = decode(body, _Action)
    try:
        time = datetime.fromisoformat(action.time)
        until = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        until = now + NOTICE_SECS  # the notice is certain; only its time is unknown
    return Notice(
        "aws",
        left(until, now, NOTICE_SECS),
        f"EC2 reclaims this Spot instance: {printable(action.action)} at {printable(action.time)}",
    )


class Aws:
    """Asks EC2's instance metadata service, version 2, for notices.

    Args:
        environ: `AWS_EC2_METADATA_SERVICE_ENDPOINT` is its URL, as in Amazon's own libraries; by
            default the link-local address.
        clock: gives the time if an answer has no `Date`.
        timeout_secs: the longest time to wait for an answer.
    """

    name = "aws"
    pause_secs = 5.0

    def __init__(
        self, environ: Mapping[str, str], clock: Clock, *, timeout_secs: float = 3.0
    ) -> None:
        self._root = (
            environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
        ).rstrip("/")
        self._clock = clock
        self._timeout_secs = timeout_secs
        self._token: str | None = None
        self._hinted = False

    @staticmethod
    def is_here(firmware: Firmware) -> bool:
        """Return whether a machine with this firmware belongs to EC2."""
        # Nitro instances name the vendor; older ones, on Xen, the version of its BIOS: 4.11.amazon.
        return firmware.sys_vendor == "Amazon EC2" or firmware.bios_version.endswith(".amazon")

    def look(self) -> Notice | None:
        """Ask for the planned action; only log a rebalance recommendation.

        Raises:
            Unavailable: If the service gives neither an answer nor a token.
        """
        answer = self._get("/latest/meta-data/spot/instance-action")
        if answer.status != 404:
            return notice_of(
                expect(answer, "spot/instance-action").body, answer.sent(self._clock.now())
            )
        if (
            not self._hinted
            and self._get("/latest/meta-data/events/recommendations/rebalance").status == 200
        ):
            self._hinted = True
            logger.info(
                "EC2 reports an elevated risk that it will reclaim this Spot instance; training "
                "continues"
            )
        return None

    def _get(self, path: str) -> MetadataAnswer:
        answer = self._try(path)
        if answer.status == 401:
            self._token = None  # the token has expired, or the service was restarted
            answer = self._try(path)
        if answer.status not in (200, 404):
            # Forget the token in any case: it may have come from a server that is not EC2's.
            self._token = None
        return answer

    def _try(self, path: str) -> MetadataAnswer:
        if self._token is None:
            self._token = self._new_token()
        return ask("GET", self._root + path, {_TOKEN: self._token}, self._timeout_secs)

    def _new_token(self) -> str:
        url = self._root + "/latest/api/token"
        token = (
            expect(
                ask("PUT", url, {f"{_TOKEN}-ttl-seconds": str(TOKEN_SECS)}, self._timeout_secs), url
            )
            .body.decode("latin-1")
            .strip()
        )
        if not token or not token.isascii() or not token.isprintable():
            raise Unavailable(f"{url} gave no token")
        return token
