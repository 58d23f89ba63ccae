"""Notices, from servers that behave as the clouds' own do."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ckptkit.clock import SystemClock
from ckptkit.launcher.notices import Notice
from ckptkit.launcher.notices.aws import Aws
from ckptkit.launcher.notices.azure import Azure
from ckptkit.launcher.notices.gce import Gce
from ckptkit.launcher.notices.notice_file import File
from ckptkit.launcher.notices.polling import NoticeSource, follow
from tests.launcher import metadata as stub
from tests.launcher.metadata import Metadata, metadata

CLOUDS = ("gce", "aws", "azure")
TIMEOUT_SECS = 0.2
PATIENCE_SECS = 20


class Watched:
    """A source that is watched, and what it told."""

    def __init__(self, source: NoticeSource) -> None:
        self.told: queue.Queue[Notice] = queue.Queue()
        self.stop = threading.Event()
        self.thread = threading.Thread(
            target=follow, args=(source, self.told.put, self.stop), daemon=True
        )
        self.thread.start()

    def next(self) -> Notice:
        return self.told.get(timeout=PATIENCE_SECS)

    def quiet(self) -> bool:
        return self.told.empty()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE_SECS)
        assert not self.thread.is_alive()


@pytest.fixture
def watched(server: Metadata) -> Iterator[Callable[..., Watched]]:
    all_of_them = []

    def start(kind: str | NoticeSource) -> Watched:
        all_of_them.append(Watched(source(kind, server) if isinstance(kind, str) else kind))
        return all_of_them[-1]

    yield start
    for one in all_of_them:
        one.end()


def source(cloud: str, server: Metadata) -> NoticeSource:
    sources: dict[str, Callable[[], NoticeSource]] = {
        "gce": lambda: Gce(server.environ, wait_secs=0.3, timeout_secs=TIMEOUT_SECS),
        "aws": lambda: Aws(server.environ, SystemClock(), timeout_secs=TIMEOUT_SECS),
        "azure": lambda: Azure(
            server.environ,
            SystemClock(),
            timeout_secs=TIMEOUT_SECS,
            first_timeout_secs=10 * TIMEOUT_SECS,
        ),
    }
    made = sources[cloud]()
    made.pause_secs = 0.05
    return made


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


MOST_SECS = {"gce": 30, "aws": 120, "azure": 120}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_notice_is_told_once(cloud, server, watched):
    seen = watched(cloud)
    until(lambda: len(server.requests) > 4)
    assert seen.quiet()
    server.announce(cloud, secs=100)
    notice = seen.next()
    assert notice.source == cloud
    assert not notice.cancelled
    assert notice.reason
    assert 0 < notice.grace_secs <= MOST_SECS[cloud]
    if cloud != "gce":
        assert 90 < notice.grace_secs <= 100
    before = len(server.requests)
    until(lambda: len(server.requests) > before + 3)
    assert seen.quiet()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_notice_that_stood_before_the_start_is_told(cloud, server, watched):
    server.announce(cloud)
    assert watched(cloud).next().source == cloud


TROUBLES = {
    "503": stub.status(503),
    "500": stub.status(500),
    "redirect": stub.status(302, Location="http://127.0.0.1:1/elsewhere", Metadata_Flavor="Google"),
    "a page of somebody else's": lambda handler: handler.say(
        200, "<html>Sign in to this network</html>"
    ),
    "hang": stub.hang(1.2),
    "trickle": stub.trickle,
    "hang up": stub.hang_up,
    "babble": stub.babble,
    "huge": stub.huge,
    "nothing": stub.body(b""),
    "bytes": stub.body(bytes(range(256))),
    "deep": stub.body(b"[" * 100_000),
    "another type": stub.body(b'{"action": 3, "time": [], "Events": {"a": 1}}'),
}


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_delays_a_notice_and_makes_none(cloud, trouble, server, watched, caplog):
    """At the first request, and again when everything had been well."""
    caplog.set_level(logging.INFO, "ckptkit")
    server.trouble.extend([TROUBLES[trouble]] * 2)
    seen = watched(cloud)
    until(lambda: not server.trouble)
    done = len(server.requests)
    until(lambda: len(server.requests) > done + 3)
    assert seen.quiet()
    server.trouble.append(TROUBLES[trouble])
    until(lambda: not server.trouble)
    server.announce(cloud)
    assert seen.next().source == cloud
    said = [
        record.message for record in caplog.records if "no answer about notices" in record.message
    ]
    assert 1 <= len(said) <= 3
    assert f"{cloud} answers about notices again" in caplog.text


def test_a_server_that_is_not_there_yet(watched, caplog):
    """Nobody listens on the port at first, as where the network comes up late."""
    with metadata() as gone:
        pass
    seen = watched(source("gce", gone))
    until(lambda: "no answer" in caplog.text)
    assert seen.quiet()
    with metadata(int(gone.address.split(":")[1])) as server:
        server.announce("gce")
        assert seen.next().source == "gce"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_proxy_is_asked(cloud, server, watched, monkeypatch):
    with metadata() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        seen = watched(cloud)
        server.announce(cloud)
        assert seen.next().source == cloud
        assert proxy.requests == []


# Compute Engine


def test_gce_waits_at_the_server(server, watched):
    seen = watched("gce")
    until(lambda: server.asked("wait_for_change=true") >= 1)
    server.announce("gce")
    assert seen.next().grace_secs == 30
    assert server.asked("last_etag=") >= 1


def test_gce_maintenance_that_ends_the_machine(server, watched):
    server.maintenance = "MIGRATE_ON_HOST_MAINTENANCE"
    seen = watched("gce")
    until(lambda: server.asked("maintenance-event") > 1)
    assert seen.quiet(), "a machine that is moved runs on"
    server.maintenance = "TERMINATE_ON_HOST_MAINTENANCE"
    notice = seen.next()
    assert "maintenance" in notice.reason
    assert 30 < notice.grace_secs <= 60
    server.maintenance = "NONE"
    assert seen.next().cancelled


def test_gce_an_answer_without_the_header_is_not_believed(server, watched):
    server.trouble.extend([lambda handler: handler.say(200, "TRUE")] * 3)
    seen = watched("gce")
    until(lambda: server.asked("wait_for_change=true") > 0)
    assert seen.quiet()


# EC2


def test_aws_a_token_is_renewed_when_it_expires(server, watched, caplog):
    seen = watched("aws")
    until(lambda: server.asked("instance-action") > 2)
    assert server.asked("api/token") == 1
    for times in range(2, 8):
        server.tokens.clear()
        until(lambda times=times: server.asked("api/token") == times)
        done = server.asked("instance-action")
        until(lambda done=done: server.asked("instance-action") > done + 2)  # with the new one
    server.announce("aws")
    assert seen.next().source == "aws"
    assert server.asked("api/token") == 7
    assert "no answer" not in caplog.text, "that is no trouble"


def test_aws_time_is_the_servers(server, watched):
    """A machine's own clock may be hours off."""
    server.skew_secs = -7200
    server.announce("aws", secs=80)
    assert 70 < watched("aws").next().grace_secs <= 80


@pytest.mark.parametrize(("secs", "least", "most"), [(-30, 5, 5), (10_000, 120, 120)])
def test_aws_times_that_cannot_be(secs, least, most, server, watched):
    server.announce("aws", secs=secs)
    assert least <= watched("aws").next().grace_secs <= most


def test_aws_a_recommendation_is_said_once_and_is_no_notice(server, watched, caplog):
    caplog.set_level(logging.INFO, "ckptkit")
    server.rebalance = {"noticeTime": "2026-01-01T00:00:00Z"}
    seen = watched("aws")
    until(lambda: "elevated risk" in caplog.text)
    until(lambda: server.asked("instance-action") > 4)
    assert seen.quiet()
    assert caplog.text.count("elevated risk") == 1


# Azure


def test_azure_events_of_other_machines_are_theirs(server, watched):
    server.announce("azure", Resources=["trainer-70", "trainer"])
    seen = watched("azure")
    until(lambda: server.asked("scheduledevents") > 3)
    assert seen.quiet()
    server.announce("azure", Resources=["trainer-70", server.machine.upper()])
    assert "Preempt" in seen.next().reason


def test_azure_a_machine_that_is_frozen_or_moved_next_week_trains_on(server, watched):
    server.announce("azure", EventType="Freeze")
    server.announce("azure", secs=7 * 86400, EventType="Redeploy")
    seen = watched("azure")
    until(lambda: server.asked("scheduledevents") > 3)
    assert seen.quiet()
    server.skew_secs += 7 * 86400 - 60
    assert 50 < seen.next().grace_secs <= 60


def test_azure_an_event_can_be_cancelled_and_another_one_come(server, watched):
    server.announce("azure", EventId="first")
    seen = watched("azure")
    first = seen.next()
    server.events = []
    cancelled = seen.next()
    assert (cancelled.cancelled, cancelled.reason) == (True, first.reason)
    server.announce("azure", EventId="second")
    assert "second" in seen.next().reason


def test_azure_an_event_that_has_begun_tells_no_time(server, watched):
    server.announce("azure", EventStatus="Started", NotBefore="")
    assert watched("azure").next().grace_secs == 5


def test_azure_a_broken_event_does_not_hide_ours(server, watched):
    server.events = [{"EventId": 3}, {"EventType": "Preempt"}, "what", None]
    server.announce("azure")
    assert watched("azure").next().source == "azure"


def test_azure_the_first_answer_takes_long(server, watched):
    """The service is switched on by it: two minutes, of which these are a share."""
    server.first_answer_secs = 4 * TIMEOUT_SECS
    server.announce("azure")
    assert watched("azure").next().source == "azure"
    assert server.asked("scheduledevents") == 1


# A file


CONTENTS = {
    b"": 30,
    b"12.5": 12.5,
    b"90 power goes at noon\n": 90,
    b"soon": 30,
    b"-4": 30,
    b"nan": 30,
    b"inf": 30,
    bytes(range(128, 256)): 30,
    b"1" * 10_000: 30,
}


@pytest.mark.parametrize(
    ("content", "grace_secs"), CONTENTS.items(), ids=lambda value: repr(value)[:20]
)
def test_file(content, grace_secs, tmp_path, watched):
    file = File(tmp_path / "notice")
    file.pause_secs = 0.01
    seen = watched(file)
    (tmp_path / "new").write_bytes(content)
    (tmp_path / "new").rename(tmp_path / "notice")
    notice = seen.next()
    assert (notice.source, notice.grace_secs) == ("file", grace_secs)
    assert notice.reason.isprintable()
    assert len(notice.reason) < 500
    (tmp_path / "notice").unlink()
    assert seen.next().cancelled


def test_file_of_a_strange_kind_is_there_nevertheless(tmp_path, watched):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("pipe", "directory"):
        assert watched(File(tmp_path / name)).next().grace_secs == 30
