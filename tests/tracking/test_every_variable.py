"""Every variable of every kind of state is saved once and restored bit for bit.

The restoring process gives other numbers to automatic names.
"""

from __future__ import annotations

import json

import pytest

from tests.support.spread import spread

# The names of `kinds.KINDS`, which cannot be imported here without TensorFlow.
KINDS = [
    "sequential",
    "functional_with_two_inputs_and_outputs",
    "subclassed_with_lists_and_dicts_of_layers",
    "nested_models",
    "shared_layers",
    "custom_layer",
    "batch_normalization_and_dropout",
    "recurrent_dropout",
    "embedding_with_sparse_gradients",
    "mixed_precision_with_a_loss_scale",
    "average_of_weights",
    "gradient_accumulation",
    "compiled_metrics",
    "metrics_as_attributes",
    "wrappers_and_attention",
    "adapted_preprocessing",
    "frame_that_is_never_called",
    "two_optimizers",
    "every_optimizer",
    "tf_module",
    "train_checkpoint",
    "lists_and_dicts_in_state",
    "variables_of_every_type_and_shape",
    "raw_variables_and_tables_in_a_layer",
    "users_own_classes",
    "part_from_a_saved_model",
]


@pytest.mark.parametrize("name", spread(KINDS, 4))
def test_every_variable_comes_back(tf_call, tmp_path, seed, name):
    saved = tf_call("tests.tracking.programs:save", name, str(tmp_path), seed).check().result
    assert saved["saved"] == saved["listed"] == saved["alive"], (
        "one saved tensor for each variable that there is"
    )
    restored = tf_call("tests.tracking.programs:restore", name, str(tmp_path), seed).check().result
    assert restored["step"] == 3
    assert restored["before"] != saved["values"], (
        "the test proves nothing where the values are the same anyway"
    )
    assert restored["values"] == saved["values"]
    assert restored["after"] == saved["after"], "training goes on as it did there"


@pytest.mark.parametrize("name", spread(KINDS, 4, 1))
def test_a_save_holds_the_values_of_its_moment(tf_call, tmp_path, seed, name):
    """Training goes on, and every variable changes, before the first byte is written."""
    saved = (
        tf_call("tests.tracking.programs:save_and_change", name, str(tmp_path), seed).check().result
    )
    assert saved["changed"] != saved["values"]
    restored = tf_call("tests.tracking.programs:restore", name, str(tmp_path), seed).check().result
    assert restored["values"] == saved["values"]
    assert restored["after"] == saved["after"]


def test_the_kinds_are_all_tested(tf_call):
    assert tf_call("tests.tracking.programs:names").check().result == KINDS
    assert len(KINDS) >= 16


def test_keys_follow_from_the_program_alone(tf_call, fresh_process, tmp_path):
    """Another process hashes strings otherwise, and has its objects at other addresses: sets and
    dictionaries may be in another order.
    """
    here = tf_call("tests.tracking.programs:keys", str(tmp_path / "here"))
    there = fresh_process(
        """
        import json, sys
        from tests.tracking.programs import keys
        print("\\n" + json.dumps(keys(sys.argv[1])))
    """,
        tmp_path / "there",
        env={"PYTHONHASHSEED": "12345"},
    )
    expected = here.check().result
    assert json.loads(there.check().stdout.splitlines()[-1]) == expected
    assert {name for name, keys in expected.items() if keys} == set(KINDS)
