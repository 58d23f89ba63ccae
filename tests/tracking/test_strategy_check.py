"""State of a strategy that is not supported is refused, wherever it is tracked, and never read."""

from __future__ import annotations

import socket

import pytest

PROGRAMS = "tests.tracking.strategy_programs:"

NAMED = {
    "model": "The model in state['model'] was made under CentralStorageStrategy",
    "unbuilt model": "The model in state['model'] was made under CentralStorageStrategy",
    "metric": "The variable 'mean/total' in state['metric'] was made under CentralStorageStrategy",
    "optimizer": "/iteration' in state['optimizer'] was made under CentralStorageStrategy",
    "module in a list": "'Variable' in state['parts'] was made under CentralStorageStrategy",
    "scope": "The program runs under CentralStorageStrategy",
    "data": "The data was to be split under CentralStorageStrategy",
    "restore": "The model in state['model'] was made under CentralStorageStrategy",
    "fit": "The model in state['model'] was made under CentralStorageStrategy",
    "fit of an unbuilt model": "The model in state['model'] was made under CentralStorageStrategy",
    "fit with a manager": "The model in state['model'] was made under CentralStorageStrategy",
}


@pytest.fixture(scope="module")
def refusals(fork_server, tmp_path_factory):
    """What was said in each case; one process makes them all."""
    process = fork_server.call(PROGRAMS + "refusals", str(tmp_path_factory.mktemp("runs")))
    return process.check().result


@pytest.mark.parametrize("case", NAMED)
def test_several_devices_are_refused_before_the_run_is_made(refusals, case):
    assert NAMED[case] in refusals[case]
    assert "which is not supported: its variables" in refusals[case]
    assert "THE RUN WAS MADE" not in refusals[case] or case == "data"


OTHERS = {
    "distributed iterator": "loop over manager.data(dataset, strategy=strategy)",
    "data without a strategy": "Received: 'mirrored'",
    "data without rows": "Batch the dataset first",
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_cannot_be_split_or_saved_is_refused(refusals, case):
    assert OTHERS[case] in refusals[case]


def test_every_case_is_checked(refusals):
    assert refusals.keys() == NAMED.keys() | OTHERS.keys()


def test_what_joins_the_state_later_is_refused_when_it_is_tracked(tf_call, tmp_path):
    """The save that would read it fails, and the one before it stays."""
    said = tf_call(PROGRAMS + "made_later", str(tmp_path / "run")).check().result
    assert said.startswith("[1] The variable "), said
    assert "was made under CentralStorageStrategy" in said


def test_counters_are_read_from_mirrored_variables(tf_call):
    counts = tf_call(PROGRAMS + "counts_under_a_strategy").check().result
    assert counts == {"iterations": 3, "trained": [False, True], "remembers": [False, True]}


def test_fit_on_workers_without_tf_config_is_refused_and_nothing_is_read(tf_call, tmp_path):
    """A read on one worker alone would wait for the other one, which never comes."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        ports = f"{first.getsockname()[1]},{second.getsockname()[1]}"
    tf_call(PROGRAMS + "idle", ports)
    said = tf_call(PROGRAMS + "chief", ports, str(tmp_path / "run")).check().result
    assert "model.fit under MultiWorkerMirroredStrategy is not supported" in said
    assert "keras issue 20329" in said
    assert "THE RUN WAS MADE" not in said
