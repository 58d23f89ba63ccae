"""Which source of notices is watched, and the requests that it makes."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pytest

from ckptkit.errors import ConfigError
from ckptkit.launcher.notices import SOURCES, Notice, watch
from ckptkit.launcher.notices.metadata_client import Unavailable, ask
from tests.launcher import metadata as stub
from tests.launcher.metadata import metadata

CLOUDS = tuple(SOURCES)
TIMEOUT_SECS = 0.2
PATIENCE_SECS = 20

FIRMWARE = {
    "gce": {"sys_vendor": "Google", "product_name": "Google Compute Engine"},
    "aws": {"sys_vendor": "Amazon EC2", "product_name": "g5.xlarge"},
    "azure": {
        "sys_vendor": "Microsoft Corporation",
        "product_name": "Virtual Machine",
        "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77",
    },
}
NO_CLOUD = {
    "a desktop": {"sys_vendor": "LENOVO", "product_name": "20XW"},
    "Hyper-V": FIRMWARE["azure"] | {"chassis_asset_tag": "0000-1111"},
    "no firmware": {},
    "garbage": {"sys_vendor": "\0\udcff", "bios_version": "amazon"},
}


def firmware(directory: Path, names: dict[str, str]) -> Path:
    directory.mkdir(exist_ok=True)
    for name, value in names.items():
        (directory / name).write_bytes(value.encode("utf-8", "surrogateescape") + b"\n")
    return directory


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("kind", ["auto", "by name"])
def test_watch(cloud, kind, server, tmp_path):
    told: queue.Queue[Notice] = queue.Queue()
    stop = threading.Event()
    server.announce(cloud)
    thread = watch(
        "auto" if kind == "auto" else cloud,
        told.put,
        stop,
        environ=server.environ,
        dmi=firmware(tmp_path / "id", FIRMWARE[cloud]),
    )
    assert told.get(timeout=PATIENCE_SECS).source == cloud
    stop.set()
    server.announce("gce")  # lets go of who waits for a change
    thread.join(PATIENCE_SECS)
    assert not thread.is_alive()
    others = {"gce": "computeMetadata", "aws": "latest/", "azure": "/metadata/"}
    assert [name for name in others if server.asked(others[name])] == [cloud]


def test_an_older_aws_machine_is_known_too(tmp_path, server):
    told: queue.Queue[Notice] = queue.Queue()
    stop = threading.Event()
    server.announce("aws")
    watch(
        "auto",
        told.put,
        stop,
        environ=server.environ,
        dmi=firmware(tmp_path / "id", {"sys_vendor": "Xen", "bios_version": "4.11.amazon"}),
    )
    assert told.get(timeout=PATIENCE_SECS).source == "aws"
    stop.set()


@pytest.mark.parametrize("name", NO_CLOUD)
def test_where_there_is_no_cloud_nobody_is_asked(name, server, tmp_path):
    thread = watch(
        "auto",
        pytest.fail,
        threading.Event(),
        environ=server.environ,
        dmi=firmware(tmp_path / "id", NO_CLOUD[name]),
    )
    thread.join(PATIENCE_SECS)
    assert not thread.is_alive()
    assert server.requests == []


def test_watch_off_and_a_file(server, tmp_path):
    watch("off", pytest.fail, threading.Event(), environ=server.environ).join(PATIENCE_SECS)
    told: queue.Queue[Notice] = queue.Queue()
    stop = threading.Event()
    (tmp_path / "a:b").write_text("7")
    thread = watch(f"file:{tmp_path / 'a:b'}", told.put, stop)
    assert told.get(timeout=PATIENCE_SECS).grace_secs == 7
    stop.set()
    thread.join(PATIENCE_SECS)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["", "GCE", "file:", "file", "gcp", "auto,gce"])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(ConfigError, match="notices is one of"):
        watch(kind, pytest.fail, threading.Event())


def test_the_stub_refuses_as_the_clouds_do(server):
    """What the watchers must send was demanded: else their tests would prove nothing."""
    root = server.url
    refused = {
        ("GET", "/computeMetadata/v1/instance/preempted"): ({}, 403),
        ("GET", "/latest/meta-data/spot/instance-action"): (
            {"X-aws-ec2-metadata-token": "old"},
            401,
        ),
        ("PUT", "/latest/api/token"): ({}, 400),
        ("GET", "/metadata/scheduledevents?api-version=2020-07-01"): ({}, 400),
        ("GET", "/metadata/scheduledevents"): ({"Metadata": "true"}, 400),
        ("GET", "/latest/api/token"): ({}, 404),
    }
    for (method, path), (headers, code) in refused.items():
        assert ask(method, root + path, headers, 5).status == code
    for cloud in CLOUDS:
        server.announce(cloud)
    assert (
        ask(
            "GET",
            root + "/computeMetadata/v1/instance/preempted",
            {"Metadata-Flavor": "Google", "Via": "squid"},
            5,
        ).status
        == 403
    )


BOUNDS = {
    "huge": (stub.huge, "more than"),
    "trickle": (stub.trickle, "no complete answer"),
    "drip": (stub.drip, "no complete answer"),
    "hang": (stub.hang(2), "timed out"),
    "hang up": (stub.hang_up, "Disconnected"),
    "babble": (stub.babble, "BadStatusLine"),
}


@pytest.mark.parametrize(("trouble", "words"), BOUNDS.values(), ids=BOUNDS)
def test_a_request_is_bounded(trouble, words, server):
    server.trouble.append(trouble)
    with pytest.raises(Unavailable, match=words):
        ask("GET", server.url + "/metadata/scheduledevents", {}, TIMEOUT_SECS)


def test_a_redirect_is_an_answer_and_not_followed(server):
    with metadata() as elsewhere:
        server.trouble.append(stub.status(302, Location=elsewhere.url))
        assert ask("GET", server.url + "/", {}, TIMEOUT_SECS).status == 302
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "nonsense",
        "http://127.0.0.1:1/\r\nX: y",
    ],
)
def test_an_address_that_cannot_be(url):
    with pytest.raises(Unavailable):
        ask("GET", url, {}, TIMEOUT_SECS)
