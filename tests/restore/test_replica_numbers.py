"""A state that was saved on some devices is restored on others; the journal names the changes."""

from __future__ import annotations

import json

import pytest

PROGRAMS = "tests.restore.replica_programs:"


@pytest.fixture(scope="module")
def saved(fork_server, tmp_path_factory):
    """A run of four replicas, and their values."""
    run = str(tmp_path_factory.mktemp("run") / "four")
    return run, fork_server.call(PROGRAMS + "save", run, 4).check().result


def expected(values, devices):
    """What each replica has after a restore from four."""
    count = max(devices, 1)
    four = values | {"total": [1111.0], "mean": [277.75]}
    return {
        "gamma": four["gamma"][:count],
        "moving_mean": four["moving_mean"][:count],
        "total": [1111.0, 0.0][:count],
        "mean": [277.75] * count,
        "first": four["first"][:count],
        "words": four["words"][:count],
    }


@pytest.mark.parametrize("devices", [0, 1, 2])
def test_fewer_replicas(saved, devices, tf_call):
    run, values = saved
    found = tf_call(PROGRAMS + "restore", run, devices).check().result
    assert found["step"] == 1
    assert found["values"] == expected(values, devices)
    (said,) = (json.loads(line)["reason"] for line in found["inexact"])
    now = max(devices, 1)
    assert said.startswith(
        f"the state was saved from 4 replicas of tf.distribute, and the program has {now} now"
    ), said
    assert "moving_mean" in said


def test_as_many_replicas_are_exact(saved, tf_call):
    run, values = saved
    found = tf_call(PROGRAMS + "restore", run, 4).check().result
    assert found == {"step": 1, "values": values, "inexact": []}


def test_more_replicas(tf_call, tmp_path):
    """New replicas begin with the first one's values, or with their share of a sum."""
    run = str(tmp_path / "run")
    values = tf_call(PROGRAMS + "save", run, 0).check().result
    two = tf_call(PROGRAMS + "restore", run, 2).check().result["values"]
    assert two == {name: each * 2 for name, each in values.items()} | {"total": [1.0, 0.0]}


def test_exact_require_refuses_before_anything_is_assigned(saved, tf_call):
    found = tf_call(PROGRAMS + "restore", saved[0], 2, "require").check().result
    assert found["unchanged"]
    assert "from 4 replicas" in found["refused"]


def test_plain_tensorflow_reads_every_replica(saved, tf_call):
    found = tf_call(PROGRAMS + "read_plainly", saved[0]).check().result
    spread = {key: values[0] for key, values in found.items() if "replica" in key}
    assert spread == {
        f"{key}/replica/{number}": 10.0**number
        for key in ("metric/metrics/0", "model/weights/2")
        for number in (1, 2, 3)
    }
    assert [found[key] for key in ("metric/metrics/0", "model/weights/2")] == [[1.0], [1.0, 1.0]]


def test_replicas_that_become_different_are_noticed_and_saved(tf_call, tmp_path):
    found, said = tf_call(PROGRAMS + "diverge", str(tmp_path / "run")).check().result
    assert found == [[[1.0, 1.0], [5.0, 6.0]]] * 2
    assert len(said) == 1
    assert "gamma" in said[0]


def test_values_that_are_copied_from_accelerators(tf_call, tmp_path):
    before, after = tf_call(PROGRAMS + "copied", str(tmp_path / "run")).check().result
    assert after == before
