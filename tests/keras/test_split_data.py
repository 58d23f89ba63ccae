"""Under a strategy, data and models that no second run can repeat are named before they train."""

from __future__ import annotations

import pytest

PROGRAMS = "tests.keras.split_data_programs:"


@pytest.fixture(scope="module")
def reasons(fork_server, tmp_path_factory):
    """The reasons of each case; one process trains them all."""
    return fork_server.call(PROGRAMS + "reasons", str(tmp_path_factory.mktemp("runs"))).check()


def test_what_cannot_be_repeated_is_named(reasons):
    found = reasons.result
    assert found.pop("exact") == []
    words = {
        name: [reason.split(",")[0].split(" without")[0] for reason in found[name]]
        for name in found
    }
    assert words == {
        "no seed": ["the data is shuffled"],
        "random map": ["the data uses RandomStandardNormal"],
        "random layer": ["the model or its train step draws from RandomStandardNormal"],
    }


def test_exact_require_refuses_it_before_the_first_step(tf_call, tmp_path):
    said = tf_call(PROGRAMS + "required", str(tmp_path / "run")).check().result
    assert len(said) == 1
    assert "shuffled without a seed" in said[0]
