"""Whether smaller or larger is better: inferred for names that Keras knows, demanded otherwise."""

from __future__ import annotations

import re

import pytest

import ckptkit
from ckptkit.policies.metric_direction import inferred_direction, required
from tests.policies.test_policies import at


@pytest.mark.parametrize(
    ("monitor", "expected"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("val_head_loss", "min"),
        ("eval/loss", "min"),
        ("accuracy", "max"),
        ("acc", "max"),
        ("val_sparse_categorical_accuracy", "max"),
        ("AUC", "max"),
        ("val_auc_1", "max"),
        ("f1_score", "max"),
        ("macro_f1", "max"),
        ("val_precision", "max"),
        ("val_rmse", "min"),
        ("mae", "min"),
        ("score", None),
        ("reward", None),
        ("neg_mean_squared_error", None),
        ("val_negative_loss", None),
        ("1-auc", None),
        ("1 - acc", None),
        ("val_1-acc", None),
        ("val_head/1-auc", None),
        ("1.0-f1", None),
        ("1_f1", None),
        ("non_accuracy", None),
        ("not-accuracy", None),
        ("val_lost_accuracy", None),
        ("false_precision", None),
        ("head_11-auc", "max"),
        ("val_auc-1", "max"),
        ("loss_scale", None),
        ("glossy", None),
        ("val_", None),
        ("", None),
        ("7", None),
    ],
)
def test_directions_of_names(monitor, expected):
    assert inferred_direction(monitor) == expected


def test_directions_of_metric_objects():
    own = {"score": "max", "distance": "min", "my_score": "min"}
    assert inferred_direction("val_score", own) == "max"
    assert inferred_direction("val_head_distance", own) == "min"
    assert inferred_direction("my_score", own) == "min"
    assert inferred_direction("score_of", own) is None


@pytest.mark.parametrize("policy", [ckptkit.OnBest, ckptkit.KeepBest])
def test_a_policy_infers_it_demands_it_or_takes_it(policy):
    assert policy("val_accuracy").mode == "max"
    assert policy("val_accuracy", mode="min").mode == "min"
    assert policy("val_accuracy") == policy("val_accuracy", mode="auto")
    assert policy("score", mode="max").with_directions({}).mode == "max"
    assert policy("score").with_directions({"score": "max"}).mode == "max"
    both = policy("loss") | policy("score")
    assert both.monitors == ("loss", "score")
    assert [each.mode for each in both.with_directions({"score": "max"}).policies] == ["min", "max"]
    message = f"{policy.__name__}: it is unknown whether smaller or larger values of 'score'"
    for which in (policy("score"), both):
        with pytest.raises(ckptkit.ConfigError, match=f"{message}.*Expected mode='min'"):
            which.with_directions({})
    for other in (ckptkit.EveryNSteps(3), ckptkit.KeepLatest(3)):
        assert (other.monitors, other.with_directions({})) == ((), other)


def test_a_direction_is_demanded_when_it_is_needed():
    with pytest.raises(ckptkit.ConfigError, match="'score'"):
        ckptkit.OnBest("score").due(at(3, score=1), at())
    with pytest.raises(ckptkit.ConfigError, match="'score'"):
        ckptkit.KeepBest("score").keep([])
    with pytest.raises(ckptkit.ConfigError, match=r"find.*mode=None"):
        ckptkit.policies.metric_direction.given_or_inferred("find", "loss", None)
    assert required("find", "score", "max") == "max"


def test_an_export_of_the_best_weights():
    assert ckptkit.ExportSpec(weights="best").with_directions({}).mode == "min"
    assert ckptkit.ExportSpec(weights="best", monitor="val_auc").mode == "max"
    spec = ckptkit.ExportSpec(weights="best", monitor="score")
    assert spec.with_directions({"score": "max"}).mode == "max"
    with pytest.raises(ckptkit.ConfigError, match=re.escape("ExportSpec: it is unknown")):
        spec.with_directions({})
    # Nothing is compared, so nothing has to be known.
    assert ckptkit.ExportSpec(monitor="score").with_directions({}).mode == "auto"


def test_the_metrics_of_keras_have_the_directions_that_keras_gives_them():
    keras = pytest.importorskip("keras")
    given = [
        {},
        *({name: 0.5} for name in ("precision", "recall", "specificity", "sensitivity")),
        {"num_classes": 2},
        {"num_classes": 2, "target_class_ids": [0]},
    ]
    known = {}
    for kind in vars(keras.metrics).values():
        if not isinstance(kind, type) or not issubclass(kind, keras.metrics.Metric):
            continue
        for options in given:
            try:
                metric = kind(**options)
            except (TypeError, ValueError):
                continue
            known[metric.name] = getattr(metric, "_direction", None)
            break
    assert len(known) > 35
    modes = {"up": "max", "down": "min", None: None}
    assert {name: inferred_direction(name) for name in known} == {
        name: modes[direction] for name, direction in known.items()
    }
