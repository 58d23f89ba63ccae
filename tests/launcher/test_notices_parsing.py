"""What a metadata server may answer, and what is made of it: a notice, nothing, or `Unavailable`;
never anything else.
"""

from __future__ import annotations

import json
import math
import string
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ckptkit.launcher.notices import aws, azure, cloud_of, gce, notice_file
from ckptkit.launcher.notices.firmware import Firmware
from ckptkit.launcher.notices.metadata_client import MetadataAnswer, Unavailable
from ckptkit.launcher.notices.notice import Notice

NOW = 1_800_000_000.0
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
TIMES = st.text() | st.sampled_from(
    [
        "2027-01-15T08:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59Z",
        "Fri, 15 Jan 2027 08:00:30 GMT",
        "Mon, 01 Jan 0001 00:00:00 +1400",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "",
    ]
)
ACTIONS = st.fixed_dictionaries({"action": st.text(), "time": TIMES})
EVENTS = st.fixed_dictionaries(
    {
        "EventId": st.text(),
        "EventType": st.sampled_from(["Preempt", "Freeze", "REBOOT"]) | st.text(),
        "Resources": st.lists(st.sampled_from(["us", "US", "them"])),
    },
    optional={"NotBefore": TIMES | st.none()},
)
ANSWERS = st.binary() | VALUES.map(lambda value: json.dumps(value).encode())


def sound(notice: Notice | None, most: float) -> None:
    if notice is not None:
        assert 5 <= notice.grace_secs <= most
        assert notice.reason.isprintable()
        assert len(notice.reason) < 1000


@given(ANSWERS | ACTIONS.map(lambda value: json.dumps(value).encode()))
def test_aws(body):
    with suppress(Unavailable):
        sound(aws.notice_of(body, NOW), 120)


@given(ACTIONS)
def test_aws_an_action_is_always_a_notice(action):
    """Also if its time makes no sense: the machine will still go away."""
    notice = aws.notice_of(json.dumps(action).encode(), NOW)
    assert isinstance(notice, Notice)
    assert (notice.source, notice.cancelled) == ("aws", False)
    sound(notice, 120)


@given(
    ANSWERS
    | st.lists(EVENTS | VALUES).map(
        lambda events: json.dumps({"DocumentIncarnation": 1, "Events": events}).encode()
    )
)
def test_azure(body):
    with suppress(Unavailable):
        sound(azure.notice_of(body, "us", NOW), 120)


@given(st.lists(EVENTS))
def test_azure_only_what_ends_this_machine(events):
    notice = azure.notice_of(json.dumps({"Events": events}).encode(), "us", NOW)
    ours = [
        event
        for event in events
        if event["EventType"].lower() in ("preempt", "terminate", "reboot", "redeploy")
        and any(name.lower() == "us" for name in event["Resources"])
    ]
    assert notice is None or ours
    if any(not event.get("NotBefore") for event in ours):
        assert notice is not None
        assert notice.grace_secs == 5


@pytest.mark.parametrize(
    ("body", "preempted"),
    [(b"TRUE", True), (b" TRUE\r\n", True), (b"FALSE", False), (b"FALSE\n", False)],
)
def test_gce_preempted(body, preempted):
    assert gce.is_preempted(body) is preempted


@given(ANSWERS | st.sampled_from([b"TRUEFALSE", b"true", b"", b"TRUE FALSE", b"1"]))
def test_gce_any_other_answer_is_no_answer(body):
    assume(body.split() not in ([b"TRUE"], [b"FALSE"]))
    with pytest.raises(Unavailable):
        gce.is_preempted(body)


@pytest.mark.parametrize(
    ("body", "terminated"),
    [
        (b"TERMINATE_ON_HOST_MAINTENANCE", True),
        (b"TERMINATE_ON_HOST_MAINTENANCE\n", True),
        (b"MIGRATE_ON_HOST_MAINTENANCE", False),
        (b"NONE", False),
        (b"", False),
        (b"TERMINATE", False),
        (b"\xff", False),
    ],
)
def test_gce_maintenance(body, terminated):
    assert gce.is_terminated(body) is terminated


BLANK = st.text(" \t\r\n").map(str.encode)


@given(BLANK, st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", fullmatch=True), BLANK)
def test_azure_a_name_that_is_allowed_is_taken_without_the_space_around_it(before, name, after):
    assert azure.name_of(before + name.encode() + after) == name


@given(
    ANSWERS
    | st.sampled_from(
        [b"", b"-a", b"a b", b"a/b", b"a" * 81, b"a\x85", b"\xa0a", b"a\x1c", b"a\0", b"<html>"]
    )
)
def test_azure_anything_else_is_no_name(body):
    word = body.strip()
    allowed = set(f"{string.ascii_letters}{string.digits}_.-".encode())
    assume(not (1 <= len(word) <= 80 and set(word) <= allowed and word[:1] not in b".-"))
    with pytest.raises(Unavailable):
        azure.name_of(body)


@given(st.binary() | st.floats().map(lambda number: f"{number} going".encode()))
def test_file(content):
    notice = notice_file.notice_of(content, Path("/run/notice"))
    assert 0 <= notice.grace_secs < float("inf")
    assert notice.reason.isprintable()


ALMOST = st.sampled_from(
    ["Google", "google compute engine", "Amazon", "EC2", "amazon", ".amazon.", "Microsoft", "7783"]
)


@given(ALMOST | st.text(), ALMOST | st.text(), ALMOST | st.text(), ALMOST | st.text())
def test_no_cloud_is_seen_if_there_is_none(vendor, product, bios, tag):
    """Names that look like those of a cloud are not enough."""
    assume(not bios.endswith(".amazon"))
    firmware = Firmware(
        sys_vendor=vendor, product_name=product, bios_version=bios, chassis_asset_tag=tag
    )
    assert cloud_of(firmware) is None


@given(TIMES)
def test_a_servers_time(date):
    """Also from dates that no clock can show: they are replaced by our own time."""
    assert math.isfinite(MetadataAnswer(200, {"date": date}, b"").sent(NOW))


def test_a_servers_time_where_it_tells_one():
    assert MetadataAnswer(200, {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}, b"").sent(3.0) == NOW
    assert MetadataAnswer(200, {}, b"").sent(3.0) == 3.0


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"Events": ' + b"[" * 1_000_000,
        b'{"Events": [{"x": ' + b"[" * 200_000 + b"]" * 200_000,
    ],
)
def test_depth_is_no_way_in(body):
    for parse in (lambda: aws.notice_of(body, NOW), lambda: azure.notice_of(body, "us", NOW)):
        with pytest.raises(Unavailable):
            parse()
