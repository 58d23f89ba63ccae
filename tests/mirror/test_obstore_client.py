"""The client against a real server: what the protocol asks of a store, and its errors."""

from __future__ import annotations

import os
import random
import threading
import urllib.request
import uuid

import pytest

from ckptkit.errors import ConfigError, StorageError
from ckptkit.mirror.create_once import create_once, refuses_second_create
from ckptkit.mirror.objects import ObjectExistsError, ObjectMissingError, StoreRefusedError
from ckptkit.mirror.obstore_client import PART_BYTES, ObstoreObjects
from ckptkit.mirror.store_url import parse_store_url
from ckptkit.testing import FakeClock
from tests.support.store_servers import (
    SECRET,
    azure_server,
    environment,
    free_port,
    gcs_server,
    install_azurite,
)


@pytest.fixture(scope="module")
def gcs(tmp_path_factory):
    with gcs_server(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    directory = tmp_path_factory.mktemp("azure")
    with azure_server(directory, install_azurite(directory)) as server:
        yield server


@pytest.fixture(params=["s3", "gcs", pytest.param("azure", marks=pytest.mark.long)])
def objects(request):
    """A client of each kind of store."""
    server = request.getfixturevalue(request.param)
    place = parse_store_url(server.url(f"runs/{uuid.uuid4().hex}"))
    return ObstoreObjects(place, server.options)


def test_of_many_that_create_one_succeeds(objects):
    won, start = [], threading.Barrier(8)

    def race(number: int) -> None:
        start.wait()
        if create_once(objects, "claims/000001.json", b"%d" % number, FakeClock()):
            won.append(number)

    racers = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert objects.read("claims/000001.json") == b"%d" % won[0]
    assert refuses_second_create(objects, "probe/1")
    assert objects.sizes("probe/") == {}


@pytest.mark.parametrize("size_bytes", [0, 1, PART_BYTES + 12_345])
def test_a_file_arrives_as_it_is(objects, tmp_path, size_bytes):
    path, data = tmp_path / "file", random.Random(size_bytes).randbytes(size_bytes)
    path.write_bytes(data)
    objects.put_file("data/1/file", path)
    assert objects.sizes("data/") == {"data/1/file": size_bytes}
    assert objects.read("data/1/file") == data
    start = size_bytes // 3
    assert objects.read_range("data/1/file", start, size_bytes - start) == data[start:]


def test_names_are_listed_below_the_prefix_only(objects):
    objects.create("a/2", b"xy")
    objects.put("a/1", b"")
    objects.put("b/1", b"z")
    assert objects.sizes("") == {"a/1": 0, "a/2": 2, "b/1": 1}
    assert list(objects.sizes("a/")) == ["a/1", "a/2"]
    objects.delete("a/1")
    objects.delete("a/1")
    with pytest.raises(ObjectMissingError):
        objects.read("a/1")
    with pytest.raises(ObjectMissingError):
        objects.read_range("a/1", 0, 5)
    with pytest.raises(ObjectExistsError):
        objects.create("a/2", b"other")


def test_a_missing_bucket_is_refused(s3):
    objects = ObstoreObjects(parse_store_url("s3://nothing-here/runs/x"), {})
    with pytest.raises(StoreRefusedError, match="Check the name of the bucket"):
        objects.sizes("")
    with pytest.raises(StoreRefusedError, match="Check the name of the bucket"):
        objects.create("a", b"")


def test_a_server_that_is_away_is_an_error_without_the_secret(s3):
    with environment({"AWS_ENDPOINT": f"http://127.0.0.1:{free_port()}"}):
        objects = ObstoreObjects(parse_store_url(s3.url("x")), {}, retries={"max_retries": 0})
    with pytest.raises(StorageError) as caught:
        objects.sizes("")
    assert SECRET not in repr(caught.value)
    assert str(s3.url("x")) in str(caught.value)


def test_a_setting_that_the_client_does_not_know_is_an_error():
    with pytest.raises(ConfigError, match="refuses its settings") as caught:
        ObstoreObjects(parse_store_url("s3://b-1/x"), {"secret_acess_key": SECRET})
    assert SECRET not in str(caught.value)


def test_a_bucket_that_keeps_versions_is_noticed(s3):
    bucket = f"versions-{uuid.uuid4().hex[:8]}"
    url = f"http://127.0.0.1:{s3.port}/{bucket}"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=60).close()
    plain = ObstoreObjects(parse_store_url(f"s3://{bucket}/x"), {})
    plain.create("a", b"1")
    assert not plain.keeps_versions
    body = (
        b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Status>Enabled</Status></VersioningConfiguration>"
    )
    asked = urllib.request.Request(
        f"{url}?versioning", data=body, method="PUT", headers={"Content-Type": "application/xml"}
    )
    urllib.request.urlopen(asked, timeout=60).close()
    versioned = ObstoreObjects(parse_store_url(f"s3://{bucket}/x"), {})
    versioned.create("b", b"1")
    assert versioned.keeps_versions


def test_a_forked_child_cannot_use_it(objects):
    objects.put("a", b"x")
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            objects.read("a")
        except ConfigError as error:
            os.write(writes, str(error).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as told:
        assert b"another process" in told.read()
    os.waitpid(child, 0)
