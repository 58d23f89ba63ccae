"""TensorFlow's own restore works on our checkpoints, as it works on its own."""

from __future__ import annotations

import pytest

from tests.support.spread import spread
from tests.tracking.test_every_variable import KINDS

TABLES = "raw_variables_and_tables_in_a_layer"
"""The kind with mutable lookup tables, which TensorFlow does not find in our checkpoints."""

BY_FOUR = [" ".join(KINDS[start::4]) for start in range(4)]


@pytest.mark.parametrize("names", spread(BY_FOUR, 4, 1))
def test_restores_what_it_restores_from_its_own_checkpoint(tf_call, tmp_path, seed, names):
    call = tf_call(
        "tests.tracking.tensorflow_programs:restore_all", names.split(), str(tmp_path), seed
    )
    for name, found in call.check().result.items():
        ours, theirs = found["ours"], found["theirs"]
        assert ours["values"] == theirs["values"], name
        assert ours["changed"] > 0 or name == "users_own_classes", name
        assert theirs["matched"] == "all", name
        # A table counts as missing, and is not skipped silently.
        assert ours["matched"] == ("not all" if name == TABLES else "all"), name


def test_a_table_is_reported_as_missing(tf_call, tmp_path, seed):
    call = tf_call("tests.tracking.tensorflow_programs:restore_all", [TABLES], str(tmp_path), seed)
    assert call.check().result[TABLES]["ours"]["matched"] == "not all"


def test_after_fit_it_gives_the_final_weights_and_the_optimizer(tf_call, tmp_path, seed):
    found = (
        tf_call("tests.tracking.tensorflow_programs:after_fit", str(tmp_path / "run"), seed)
        .check()
        .result
    )
    assert found["has results"], "the averages have replaced the weights"
    assert found["restored"] == [found["live"]] * 3


def test_shared_files_and_another_structure(tf_call, tmp_path, seed):
    found = (
        tf_call("tests.tracking.tensorflow_programs:with_shared_files", str(tmp_path / "run"), seed)
        .check()
        .result
    )
    assert max(found["data files"][:3]) > 1, "the frozen layer has a file of its own"
    for live, restored in zip(found["live"][:3], found["restored"][:3], strict=True):
        assert restored == [live] * 3
    assert found["restored"][3] == [1.0, 2.0]
    assert found["encoded"] == 2, "once for each structure, not once for each save"


def test_from_replicas_without_a_strategy(tf_call, tmp_path, seed):
    found = (
        tf_call("tests.tracking.tensorflow_programs:over_replicas", str(tmp_path / "run"), seed)
        .check()
        .result
    )
    assert found["matched"] == "all"
    assert found["restored"] == found["live"]
