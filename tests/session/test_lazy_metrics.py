"""Metrics as a session notes them: flattened, converted late, and never an error."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from ckptkit.run.manifest import to_numbers
from ckptkit.session.lazy_metrics import Metrics, UnusableMetrics, flattened


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss": 1, "accuracy": 2}, {"loss": 1, "accuracy": 2}),
        ({"loss": 1, "compile_metrics": {"accuracy": 2}}, {"loss": 1, "accuracy": 2}),
        ({"a": {"b": {"c": 1}, "d": {}}}, {"c": 1}),
        # Of equal names Keras keeps the one that sorts last; the other one keeps its path.
        ({"z": {"x": 1}, "a": {"x": 2}}, {"x": 1, "a/x": 2}),
        ({"x": 1, "a": {"x": 2}}, {"x": 1, "a/x": 2}),
        ({3: 1, ("a", 1): 2, None: 3}, {"3": 1, "('a', 1)": 2, "None": 3}),
        ({"caf\u00e9 \udcff": 1}, {"caf\u00e9 \\udcff": 1}),
        ({}, {}),
    ],
)
def test_metrics_of_nested_dictionaries(values, expected):
    assert flattened(values) == expected
    assert flattened(expected) == expected


class Refuses:
    """A value that raises whatever it likes when it is converted, shown or looked at."""

    def __float__(self):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")

    @property
    def shape(self):
        return self


@pytest.mark.parametrize(
    "value",
    [
        "abc",
        None,
        [1, 2],
        [[1], [2, 3]],
        {1, 2},
        1j,
        10**400,
        np.zeros(3),
        np.array([]),
        np.array("x"),
        np.array([object()]),
        Refuses(),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_metric_that_is_no_number_is_left_out_and_logged_once(value, caplog):
    unusable = UnusableMetrics()
    with caplog.at_level(logging.WARNING, "ckptkit"):
        for _ in range(3):
            metrics = Metrics({"odd": value, "loss": np.float32(0.5)}, unusable.note)
            assert metrics.get("odd") is None
            assert "odd" not in metrics
            assert dict(metrics) == {"loss": 0.5}
            assert len(metrics) == 1
            assert dict(metrics.with_more({"odd": 2})) == {"loss": 0.5, "odd": 2.0}
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the metric 'odd' is not recorded with checkpoints, and no policy can compare it"
    ]


def test_names_that_a_program_makes_up_are_logged_up_to_a_limit(caplog):
    unusable = UnusableMetrics()
    with caplog.at_level(logging.WARNING, "ckptkit"):
        for step in range(50):
            assert dict(Metrics({f"text {step}": "abc"}, unusable.note)) == {}
    assert len(caplog.records) == 20
    assert caplog.records[-1].getMessage().endswith("; further ones are not named")


def test_a_value_is_converted_when_it_is_read_and_once():
    read = []

    class Tensor:
        def __float__(self):
            read.append(1)
            return 0.25

    metrics = Metrics({"loss": Tensor()})
    assert (read, metrics.converted) == ([], {})
    assert [metrics["loss"], metrics.with_more({"other": 1})["loss"], *metrics.values()] == [
        0.25
    ] * 3
    assert read == [1]


@pytest.mark.filterwarnings("error")
def test_an_array_of_one_element_is_a_number():
    assert to_numbers(dict(Metrics({"f1": np.array([0.5]), "nan": np.float32("nan")}))) == {
        "f1": 0.5,
        "nan": "nan",
    }
