"""Everything that can be exported is what it was, for somebody who has none of its code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

KINDS = (
    "sequential",
    "functional",
    "dictionary_in",
    "subclassed",
    "preprocessing",
    "mixed_precision",
    "module",
    "sub_graphs",
    "keras_with_more",
    "function",
    "counting",
    "lazily_built",
    "rows_that_count",
    "two_arguments",
    "random_values",
)

pytestmark = pytest.mark.xdist_group("exporting")


@pytest.fixture(scope="module")
def exported(fork_server, tmp_path_factory):
    directory = tmp_path_factory.mktemp("kinds")
    seed = id(directory) % 100_000
    said = (
        fork_server.call(
            "tests.export.kinds:export_all", str(directory), seed, env={"CUDA_VISIBLE_DEVICES": ""}
        )
        .check()
        .result
    )
    return directory, said, seed


@pytest.fixture(scope="module")
def consumed(exported):
    done = subprocess.run(
        [sys.executable, "-I", Path(__file__).with_name("consumer.py"), exported[0]],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_kind_gives_what_the_live_model_gave(exported, consumed):
    assert set(exported[1]) == set(KINDS)
    assert consumed["problems"] == []


def test_the_consumer_had_nothing_of_ours(consumed):
    assert consumed["modules"] == []
    assert not any(Path(path).resolve() == ROOT for path in consumed["path"])


def test_each_was_proven(exported):
    said = exported[1]
    assert said["random_values"]["proofs"] == {"serve": "runs"}
    assert said["mixed_precision"]["proofs"]["serve"] in ("equal_bits", "within_tolerances")
    others = {
        name: set(each["proofs"].values())
        for name, each in said.items()
        if name not in ("random_values", "mixed_precision")
    }
    assert others == {name: {"equal_bits"} for name in others}


def test_what_each_has_beside_its_default_signature(exported):
    signatures = {name: sorted(each["proofs"]) for name, each in exported[1].items()}
    assert signatures["module"] == ["decode", "encode"]
    assert signatures["sub_graphs"] == ["classifier", "decode", "decoder", "encoder"], (
        "the method that was not given has gone too"
    )
    assert signatures["keras_with_more"] == ["distance", "features", "serve"]


def test_samples_come_from_where_they_should(exported):
    made = {name: each["sample"] for name, each in exported[1].items()}
    assert made["subclassed"] == made["function"] == "given"
    assert made["sequential"] == made["preprocessing"] == "specs"


def test_the_optimizer_does_not_travel(exported):
    """Only the weights: four of Dense layers and four of the normalization with the dropout's seed;
    one of the module, which holds an optimizer.
    """
    weights = {
        name: len([key for key in each["variables"] if key.endswith("VARIABLE_VALUE")])
        for name, each in exported[1].items()
    }
    assert weights["sequential"] == 9
    assert weights["module"] == weights["sub_graphs"] == 1


def test_another_process_knows_what_it_has_traced_before(exported, fork_server):
    again = (
        fork_server.call(
            "tests.export.kinds:trace_all", exported[2], env={"CUDA_VISIBLE_DEVICES": ""}
        )
        .check()
        .result
    )
    assert again == {name: each["graphs"] for name, each in exported[1].items()}
