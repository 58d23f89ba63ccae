"""What is wrong is one error before training; what goes wrong later does not end training."""

from __future__ import annotations

import os
import signal
import urllib.request
import uuid

import pytest

from ckptkit.mirror.obstore_client import ObstoreObjects
from ckptkit.mirror.store_url import parse_store_url
from ckptkit.mirror.stored_commits import list_visible
from tests.support.polling import until
from tests.support.store_servers import SECRET, s3_server

PROGRAMS = "tests.mirror.mirror_programs:"


def steps_on(url: str) -> list[int]:
    objects = ObstoreObjects(parse_store_url(url), {})
    return [name.checkpoint.step for name in list_visible(objects)]


def test_bad_input_is_one_error_and_nothing_is_written(tf_call, tmp_path, s3):
    """A wrong bucket, data of others, a bucket with versions, refused credentials."""
    mine, versioned = s3.url(f"data/{uuid.uuid4().hex}"), f"versions-{uuid.uuid4().hex[:8]}"
    others = ObstoreObjects(parse_store_url(mine), {})
    others.put("photo.jpg", b"x")
    base = f"http://127.0.0.1:{s3.port}"
    body = (
        b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Status>Enabled</Status></VersioningConfiguration>"
    )
    for path, data in ((versioned, b""), (f"{versioned}?versioning", body)):
        asked = urllib.request.Request(
            f"{base}/{path}", data=data, method="PUT", headers={"Content-Type": "application/xml"}
        )
        urllib.request.urlopen(asked, timeout=60).close()
    forbids = {"INITIAL_NO_AUTH_ACTION_COUNT": "1"}  # the creation of the bucket
    with s3_server(tmp_path, forbids) as strict:
        cases = [
            ("s3://no-such-bucket/x", {}),
            (mine, {}),
            (f"s3://{versioned}/x", {}),
            (strict.url("x"), strict.env),
        ]
        run = tmp_path / "run"
        found = tf_call(PROGRAMS + "refused", str(run), cases, env=s3.env).check().result
    words = [
        ("StoreRefusedError", "Check the name of the bucket"),
        ("ConfigError", "other data, such as 'photo.jpg'"),
        ("ConfigError", "keeps versions"),
        ("StoreRefusedError", "the credentials"),
    ]
    for (kind, text), (expected, part) in zip(found, words, strict=True):
        assert kind == expected, text
        assert part in text
        assert SECRET not in text
        assert len(text.splitlines()) == 1
    assert not run.exists()
    assert others.sizes("") == {"photo.jpg": 1}
    empty = ObstoreObjects(parse_store_url(f"s3://{versioned}/x"), {})
    assert empty.sizes("") == {}


def test_misuse_is_an_error(tf_call):
    told = tf_call(PROGRAMS + "misused").check().result
    assert ["has no mirror" in told[0], "has no mirror" in told[1]] == [True, True]
    assert "durable='everywhere'" in told[2]
    assert "Received a int" in told[3]


@pytest.mark.parametrize("required", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_server_that_goes_away_does_not_end_training(tf_call, tmp_path, required):
    with s3_server(tmp_path) as server:
        result = (
            tf_call(
                PROGRAMS + "loses_the_server",
                str(tmp_path / "run"),
                server.url("x"),
                server.process.pid,
                required,
                20,
                env=server.env,
            )
            .check()
            .result
        )
    assert result["weight"] == 20.0
    assert ("not on the object store" in result["error"]) is required
    assert len(result["failed"]) == 1
    assert SECRET not in repr(result)


def test_a_signal_is_followed_by_an_upload(tf_call, tmp_path, s3):
    url = s3.url(f"runs/{uuid.uuid4().hex}")
    run = tmp_path / "run"
    tf_call(PROGRAMS + "stopped", str(run), url, 30, env=s3.env).check(code=75)
    assert steps_on(url) == [3]
    lines = (run / "journal" / "attempt-000001.jsonl").read_text()
    assert '"event":"upload_decided"' in lines


def test_a_stopped_process_that_wakes_up_changes_nothing(tf_call, tmp_path, s3):
    """Another machine has waited for a sign of life, taken the run over, and ended it."""
    url = s3.url(f"runs/{uuid.uuid4().hex}")
    sleeper = tf_call(PROGRAMS + "sleeps", str(tmp_path / "a"), url, env=s3.env)

    def is_stopped() -> bool:
        with open(f"/proc/{sleeper.pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "T"

    until(is_stopped, process=sleeper)
    other = tf_call(PROGRAMS + "loop", str(tmp_path / "b"), url, 3, env=s3.env).check().result
    assert other["seen"] == [2, 3]
    before = ObstoreObjects(parse_store_url(url), {}).sizes("checkpoints/")
    os.kill(sleeper.pid, signal.SIGCONT)
    assert "RunLockedError" in sleeper.check().result
    assert ObstoreObjects(parse_store_url(url), {}).sizes("checkpoints/") == before
    assert steps_on(url) == [2, 3]
