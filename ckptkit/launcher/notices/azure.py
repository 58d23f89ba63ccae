"""Notices of Microsoft Azure.

Source: https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events. A cancelled event
disappears from the list. An acknowledged event begins at once, so ckptkit acknowledges none: other
programs on the machine need the time too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

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
from ckptkit.launcher.notices.notice import LEAST_SECS, Notice, left, printable

ENDING = frozenset({"preempt", "terminate", "reboot", "redeploy"})
"""The kinds of events that end a process; a process survives a `Freeze`."""

AHEAD_SECS = 120.0
"""Seconds before an event from which it counts as a notice.

A redeployment may be announced days before it happens."""


_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
"""The chassis tag that distinguishes Azure from other Hyper-V machines."""

# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


class _Event(msgspec.Struct):
    EventId: str
    EventType: str
    Resources: list[str]
    NotBefore: str | None = None


class _Events(msgspec.Struct):
    Events: list[msgspec.Raw]


def name_of(body: bytes) -> str:
    """Return this machine's name from an answer of the metadata service.

    Raises:
        Unavailable: If the name is invalid. It is requested only once, and no event would match a
            wrong name.
    """
    # Stripped as bytes, because `str.strip` would also remove no-break spaces and control
    # characters.
    name = body.strip().decode("latin-1")
    if not _NAME.fullmatch(name):
        raise Unavailable(
            f"the metadata service returned {name[:40]!r} as the name of this machine"
        )
    return name


def notice_of(body: bytes, machine: str, now: float) -> Notice | None:
    """Return the first scheduled event that ends this machine soon, as a notice; or None.

    Args:
        body: the answer; it contains the events of all machines of a scale set.
        machine: the name of this machine.
        now: the server's time, in seconds since the epoch.

    Raises:
        Unavailable: If the answer is not a list of events. An event that cannot be read is skipped.
    """
    ours = [
        event
        for event in map(_event, decode(body, _Events).Events)
        if event is not None
        and event.EventType.lower() in ENDING
        and machine.lower() in (name.lower() for name in event.Resources)
    ]
    soon = sorted(
        (secs, event.EventId, event.EventType)
        for event in ours
        if (secs := _left(event, now)) <= AHEAD_SECS
    )
    return (
        None
        if not soon
        else Notice(
            "azure",
            soon[0][0],
            f"Azure: {printable(soon[0][2])} of this machine (event {printable(soon[0][1])})",
        )
    )


def _event(raw: msgspec.Raw) -> _Event | None:
    try:
        return decode(bytes(raw), _Event)
    except Unavailable:
        return None


def _left(event: _Event, now: float) -> float:
    """Return the seconds until an event; 0 if it has begun."""
    try:
        return left(parsedate_to_datetime(event.NotBefore or "").timestamp(), now, float("inf"))
    except (ValueError, TypeError, OverflowError, OSError):
        return LEAST_SECS


class Azure:
    """Asks Azure's instance metadata service for scheduled events.

    Args:
        environ: `AZURE_IMDS_ENDPOINT` is its URL; by default the link-local address.
        clock: gives the time if an answer has no `Date`.
        timeout_secs: the longest time to wait for an answer.
        first_timeout_secs: the same for the first list of events, because the first request
            switches the service on, which may take two minutes.
    """

    name = "azure"
    pause_secs = 1.0

    def __init__(
        self,
        environ: Mapping[str, str],
        clock: Clock,
        *,
        timeout_secs: float = 3.0,
        first_timeout_secs: float = 130.0,
    ) -> None:
        self._root = (environ.get("AZURE_IMDS_ENDPOINT") or "http://169.254.169.254").rstrip(
            "/"
        ) + "/metadata"
        self._clock = clock
        self._timeout_secs = timeout_secs
        self._events_timeout_secs = first_timeout_secs
        self._machine = ""

    @staticmethod
    def is_here(firmware: Firmware) -> bool:
        """Return whether a machine with this firmware belongs to Azure."""
        return (
            firmware.sys_vendor == "Microsoft Corporation"
            and firmware.chassis_asset_tag == _ASSET_TAG
        )

    def look(self) -> Notice | None:
        """Ask for the scheduled events.

        Raises:
            Unavailable: If the service gives no answer.
        """
        if not self._machine:
            answer = self._get(
                "/instance/compute/name?api-version=2021-02-01&format=text", self._timeout_secs
            )
            self._machine = name_of(answer.body)
        answer = self._get("/scheduledevents?api-version=2020-07-01", self._events_timeout_secs)
        notice = notice_of(answer.body, self._machine, answer.sent(self._clock.now()))
        self._events_timeout_secs = self._timeout_secs
        return notice

    def _get(self, path: str, timeout_secs: float) -> MetadataAnswer:
        return expect(
            ask("GET", self._root + path, {"Metadata": "true"}, timeout_secs), self._root + path
        )
