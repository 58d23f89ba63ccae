"""An interrupted `fit` under `MirroredStrategy` ends with the bits of an uninterrupted one, on each
device: a spread here, all of it in the long suite.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.exact.compare import Comparison

PROGRAM = Path(__file__).with_name("fit_program.py")

DATA = [
    "partial_batch",
    "numpy",
    "unknown_length",
    "repeat",
    "from_generator",
    "two_shuffles",
    "cache",
    "repeat_twice",
    "concatenate",
    "py_dataset",
    "shuffle_global_seed",
    "index_shuffled",
    "random_map",
    "generator_own",
    "sample_weight",
    "validation_split",
]
MODELS = [
    "averages",
    "synchronized",
    "loss_scale",
    "mixed",
    "unbuilt",
    "cosine",
    "rnn",
    "embedding",
]
"""Under a strategy, plain Keras 3 cannot train `accumulation`, `ema`, `steps_per_execution`, `gan`
(which has no `call`) and `global_seed` (whose seed is made in the first step).
"""

SIGTERM = {"signal": "SIGTERM"}


def comparison(start: Any, directory: Path, **options: Any) -> Comparison:
    return Comparison(start, directory, PROGRAM, **options)


def test_data_whose_position_is_counted(tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"batch": [1, 3]}]
    options = {"devices": 2, "data": "partial_batch", "model": "averages", "epochs": 2}
    comparison(tf_process, tmp_path, **options).check(deaths, save=2)


def test_data_that_is_read_again(tf_process: Any, tmp_path: Path) -> None:
    """Also with a model that is not built before, in a `fit` inside of the strategy's scope."""
    deaths = [{"evaluation": [1, 1], **SIGTERM}]
    options = {"devices": 2, "data": "concatenate", "model": "unbuilt", "in_scope": True}
    comparison(tf_process, tmp_path, **options).check(deaths, save=5)


@pytest.mark.long
@pytest.mark.parametrize("kind", DATA)
def test_data(kind: str, tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"batch": [1, 3]}, {"batch": [2, 5], **SIGTERM}]
    comparison(tf_process, tmp_path, devices=2, data=kind).check(deaths, save=2)


@pytest.mark.long
@pytest.mark.parametrize("kind", MODELS)
def test_model(kind: str, tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"batch": [1, 4]}]
    comparison(tf_process, tmp_path, devices=2, model=kind).check(deaths, save=3)


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"distributed": True}, id="distributed"),
        pytest.param({"in_scope": True}, id="in scope"),
        pytest.param({"callbacks": "stopping", "epochs": 5}, id="best weights"),
        pytest.param({"callbacks": "swap_ema", "model": "averages"}, id="swapped"),
        pytest.param({"devices": 1}, id="one replica"),
        pytest.param({"devices": 4}, id="four replicas"),
    ],
)
def test_further_ways(options: dict[str, Any], tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"evaluation": [0, 1], **SIGTERM}, {"batch": [1, 6]}]
    comparison(tf_process, tmp_path, **{"devices": 2, **options}).check(deaths, save=2)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["numpy", "partial_batch", "py_dataset"])
def test_the_callback_changes_no_bit(kind: str, tf_process: Any, tmp_path: Path) -> None:
    comparison(tf_process, tmp_path, devices=2, data=kind).check([], save=1)


@pytest.mark.long
@pytest.mark.parametrize(
    ("devices", "kind", "model"), list(itertools.product((2, 4), DATA, ("dense", *MODELS)))
)
def test_killed_at_random_moments(
    devices: int, kind: str, model: str, tf_process: Any, tmp_path: Path, seed: int
) -> None:
    """Every kind of data with every kind of model."""
    if model == "rnn" and kind in ("py_dataset", "generator_own"):
        pytest.skip("these data have no fixed shape, which Keras' GRU needs here")
    draw = random.Random(seed)
    deaths: list[dict[str, Any]] = [
        {"after": draw.randint(1, 20), **draw.choice([{}, SIGTERM])} for _ in range(2)
    ]
    found = comparison(tf_process, tmp_path, devices=devices, data=kind, model=model)
    found.compare(found.plain(), found.interrupted(deaths, may_end=True, save=draw.randint(1, 5)))
