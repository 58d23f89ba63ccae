"""A training that loses its machine and its disk, and resumes elsewhere with equal bits."""

from __future__ import annotations

import random
import shutil
import signal
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from ckptkit.mirror.obstore_client import ObstoreObjects
from ckptkit.mirror.store_layout import DATA
from ckptkit.mirror.store_records import read_commit
from ckptkit.mirror.store_url import parse_store_url
from ckptkit.mirror.stored_commits import commit_names, list_visible
from tests.mirror.mirror_programs import BATCHES
from tests.support.store_servers import (
    SECRET,
    azure_server,
    environment,
    gcs_server,
    install_azurite,
    s3_server,
)

PROGRAMS = "tests.mirror.mirror_programs:"
EPOCHS = 3


def newest_on(objects: ObstoreObjects) -> int:
    names = list_visible(objects)
    return names[-1].checkpoint.step if names else 0


def check_only_what_the_policy_keeps(objects: ObstoreObjects, kept: int) -> None:
    names = list_visible(objects)
    assert len(names) <= kept
    needed = {key for name in names for key in read_commit(objects.read(name.key()), name).keys}
    assert set(objects.sizes(DATA)) == needed
    assert set(commit_names(objects.sizes("checkpoints/"))) == set(names)


def lose_the_machine_again_and_again(tf_call, tmp_path, server, seed, kills):
    choose = random.Random(seed)
    url = server.url(f"runs/{uuid.uuid4().hex}")
    expected = tf_call(PROGRAMS + "fit", str(tmp_path / "calm"), None, EPOCHS, -1, seed).check()
    objects = ObstoreObjects(parse_store_url(url), server.options)
    for number in range(kills):
        before = newest_on(objects) if objects.sizes("") else 0
        directory = tmp_path / f"machine-{number}"
        kill_at = min(before + choose.randrange(5), EPOCHS * BATCHES - 1)
        process = tf_call(
            PROGRAMS + "fit", str(directory), url, EPOCHS, kill_at, seed, env=server.env
        )
        assert process.wait() == -signal.SIGKILL, process.output()
        shutil.rmtree(directory)
        assert newest_on(objects) >= before
    confirmed = newest_on(objects)
    last = tf_call(
        PROGRAMS + "fit", str(tmp_path / "last"), url, EPOCHS, -1, seed, env=server.env
    ).check()
    result = last.result
    fetched = result.pop("fetched")
    assert [name.split("-")[1] for name in fetched] == ([str(confirmed)] if confirmed else [])
    assert {**result, "fetched": []} == expected.result
    assert newest_on(objects) == EPOCHS * BATCHES
    check_only_what_the_policy_keeps(objects, kept=2)
    journals = [objects.read(key).decode() for key in objects.sizes("files/") if "journal" in key]
    assert len(journals) >= 2
    assert not any(SECRET in text for text in [*journals, last.output()])


def test_a_training_that_loses_its_disk_ends_with_the_same_bits(tf_call, tmp_path, s3, seed):
    lose_the_machine_again_and_again(tf_call, tmp_path, s3, seed, kills=2)


@pytest.mark.long
def test_also_if_the_store_fails_and_loses_answers(tf_call, tmp_path, seed):
    """A request in ten is answered by 503, and the answer to one change in thirty is lost."""
    with gcs_server(tmp_path, unavailable=0.1, lost=0.03, seed=seed) as server:
        lose_the_machine_again_and_again(tf_call, tmp_path, server, seed, kills=1)


@pytest.mark.long
@pytest.mark.parametrize("store", ["s3", "gcs", "azure"])
def test_a_training_that_loses_its_disk_thirty_times(tf_call, tmp_path, seed, store):
    with ExitStack() as stack:
        if store == "s3":
            server = stack.enter_context(s3_server(tmp_path))
            stack.enter_context(environment(server.env))
        elif store == "gcs":
            server = stack.enter_context(gcs_server(tmp_path, 0.05, 0.02, seed))
        else:
            server = stack.enter_context(azure_server(tmp_path, install_azurite(tmp_path)))
        lose_the_machine_again_and_again(tf_call, tmp_path, server, seed, kills=30)


def test_a_loop_waits_for_the_store_if_it_is_asked_to(tf_call, tmp_path, s3):
    url = s3.url(f"runs/{uuid.uuid4().hex}")
    objects = ObstoreObjects(parse_store_url(url), {})
    first = tf_call(PROGRAMS + "loop", str(tmp_path / "a"), url, 3, env=s3.env).check().result
    assert first["seen"] == [1, 2, 3]
    assert newest_on(objects) == 3
    shutil.rmtree(tmp_path / "a")
    second = tf_call(PROGRAMS + "loop", str(tmp_path / "b"), url, 5, env=s3.env).check().result
    assert second["seen"] == [4, 5]
    assert second["weight"] == 5.0
    call = PROGRAMS + "restored"
    third = tf_call(call, str(tmp_path / "c"), url, env=s3.env).check().result
    assert (third["step"], third["weight"]) == (5, 5.0)
    nowhere = tf_call(call, str(tmp_path / "d"), url + "-empty", env=s3.env).check().result
    assert "contains no checkpoint to restore" in nowhere["error"]
    check_only_what_the_policy_keeps(objects, kept=2)


def test_a_run_may_be_named_by_a_url(tf_call, tmp_path, s3):
    """Its directory is a cache, which may be lost at any time."""
    url, cache = s3.url(f"runs/{uuid.uuid4().hex}"), tmp_path / "cache"
    env = {**s3.env, "CKPTKIT_CACHE": str(cache)}
    first = tf_call(PROGRAMS + "loop", url, None, 2, env=env).check().result
    assert first["seen"] == [1, 2]
    assert Path(first["run"]).parent == cache
    shutil.rmtree(cache)
    second = tf_call(PROGRAMS + "loop", url, None, 4, env=env).check().result
    assert second["seen"] == [3, 4]
    assert second["weight"] == 4.0
