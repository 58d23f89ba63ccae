"""What a user may write as the place of a mirror."""

from __future__ import annotations

import pytest

import ckptkit
from ckptkit.errors import ConfigError
from ckptkit.mirror.mirror_settings import cache_directory, mirror_in_place
from ckptkit.mirror.store_url import parse_store_url


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://bucket/runs/x", ("s3", "bucket", "runs/x")),
        ("gs://my-bucket.example.com/x/", ("gs", "my-bucket.example.com", "x")),
        ("AZ://container/a/b=1/c@2", ("az", "container", "a/b=1/c@2")),
    ],
)
def test_a_url_has_a_scheme_a_bucket_and_a_prefix(url, parts):
    place = parse_store_url(url)
    assert (place.scheme, place.bucket, place.prefix) == parts


def test_variables_are_replaced(monkeypatch):
    monkeypatch.setenv("BUCKET", "mine")
    assert str(parse_store_url("s3://$BUCKET/runs")) == "s3://mine/runs"
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE, which is not set"):
        parse_store_url("s3://$NO_SUCH_VARIABLE/runs")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("runs/x", "Expected the URL"),
        (5, "Expected the URL"),
        ("ftp://host/x", "scheme 'ftp'"),
        ("hdfs://host/x", "scheme 'hdfs'"),
        ("s3://bucket", "a place inside the bucket"),
        ("s3:///x", "name of a bucket"),
        ("s3://b/x", "name of a bucket"),
        ("s3://bucket/a//b", "each part"),
        ("s3://bucket/a/../b", "each part"),
        ("s3://bucket/a b", "each part"),
    ],
)
def test_anything_else_is_an_error(url, words):
    with pytest.raises(ConfigError, match=words):
        ckptkit.Mirror(url)


@pytest.mark.parametrize(
    "url", ["s3://key:hunter2@bucket/x", "az://container/x?sig=hunter2", "s3://bucket/x#hunter2"]
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError) as caught:
        ckptkit.Mirror(url)
    assert "hunter2" not in str(caught.value)


def test_settings_of_the_client_are_not_shown():
    mirror = ckptkit.Mirror("s3://bucket/x", options={"secret_access_key": "hunter2"})
    assert "hunter2" not in repr(mirror)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"takeover_secs": 0}, "1 to 86400"),
        ({"takeover_secs": True}, "1 to 86400"),
        ({"keep": 2}, "keep is a policy"),
        ({"options": ["region"]}, "Received a list"),
    ],
)
def test_an_invalid_setting_is_an_error(options, words):
    with pytest.raises(ConfigError, match=words):
        ckptkit.Mirror("s3://bucket/x", **options)


def test_a_url_in_the_place_of_the_directory_has_a_cache_of_its_own(tmp_path):
    environment = {"CKPTKIT_CACHE": str(tmp_path)}
    places = ["s3://bucket/runs/x", "gs://bucket/runs/x", "s3://bucket/runs/y"]
    mirrors = [mirror_in_place(url) for url in places]
    assert [mirror.url for mirror in mirrors if mirror] == places
    caches = {cache_directory(mirror.place, environment) for mirror in mirrors if mirror}
    assert len(caches) == 3
    assert {cache.parent for cache in caches} == {tmp_path}
    home = cache_directory(parse_store_url(places[0]), {"XDG_CACHE_HOME": "/home/me/.cache"})
    assert str(home).startswith("/home/me/.cache/ckptkit/x-")


@pytest.mark.parametrize("directory", ["runs/x", "hdfs://host/x", 5, "/s3://x"])
def test_anything_else_is_a_directory(directory):
    assert mirror_in_place(directory) is None


@pytest.mark.parametrize(
    ("directory", "mirror", "words"),
    [
        ("s3://bucket/x", "s3://bucket/y", "leave mirror out"),
        ("runs/{trial}", "s3://bucket/y", "one run for each training"),
        ("s3://bucket/{trial}", None, "each part"),
    ],
)
def test_what_does_not_fit_together_is_an_error(directory, mirror, words):
    from ckptkit.session.options import make_options

    with pytest.raises(ConfigError, match=words):
        make_options(directory, {}, mirror=mirror)
