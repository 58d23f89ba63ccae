"""A census: one of every kind of attribute, in all that training reaches, and a real kill.

Each kind is restored to the bit, or named before the first step; none is neither.
"""

from __future__ import annotations

import pytest

# Of `attribute_kinds.KINDS`, which cannot be imported here without TensorFlow.
NAMED = [
    "open_socket",
    "open_file",
    "generator",
    "iterator",
    "iterator_of_a_list",
    "thread",
    "view_of_memory",
    "masked_array",
]


@pytest.mark.parametrize(
    ("program", "owners"),
    [
        (
            "train_in_fit",
            ["model", "layer layer", "metric mean_absolute_error", "callback Callback"],
        ),
        ("train_in_a_loop", ["state['module']", "state['pipeline']"]),
    ],
)
def test_a_census_of_state(tf_call, tmp_path, seed, program, owners):
    program = f"tests.tracking.census_programs:{program}"
    whole = tf_call(program, str(tmp_path / "whole"), seed, False).check().result
    killed = tf_call(program, str(tmp_path / "killed"), seed, True)
    assert killed.wait() == -9
    resumed = tf_call(program, str(tmp_path / "killed"), seed, False).check().result
    for result in (whole, resumed):
        named = [line for line in result.pop("reasons") if "not saved" in line]
        for owner in owners:
            for attribute in NAMED:
                found = [
                    line for line in named if f'{owner}: attribute "its_{attribute}" (' in line
                ]
                assert len(found) == 1, (owner, attribute, named)
    assert resumed == whole
