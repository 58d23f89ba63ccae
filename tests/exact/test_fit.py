"""An interrupted `fit` ends with the bits of an uninterrupted one: a spread here, all of it in the long suite."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.exact.compare import Comparison

DATA = ["plain", "shuffle_seeded", "shuffle_global_seed", "shuffle_same", "two_shuffles", "cache", "repeat_twice",
        "unknown_length", "repeat", "interleave",
        "random_map",
        "from_generator", "py_function", "numpy", "tensors", "class_weight", "sample_weight", "validation_split", "py_dataset",
        "py_dataset_workers", "generator_own", "generator_global"]
MOMENTS: dict[str, list[dict[str, Any]]] = {
    "mid_epoch": [{"batch": [1, 4]}],
    "epoch_boundary": [{"batch": [2, 0]}],
    "first_batch": [{"batch": [0, 0]}],
    "last_batch": [{"batch": [0, 8]}],
    "evaluation": [{"evaluation": [1, 2]}],
}


@pytest.mark.parametrize("kind", DATA)
def test_data(kind: str, tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"batch": [0, 3]}, {"evaluation": [1, 2]}, {"batch": [2, 5]}]
    Comparison(tf_process, tmp_path, data=kind).check(deaths, save=2)


MODELS = ["steps_per_execution", "jit", "cosine", "ema", "accumulation", "loss_scale", "unbuilt", "gan", "global_seed", "rnn", "embedding"]


@pytest.mark.parametrize("kind", MODELS)
def test_model(kind: str, tf_process: Any, tmp_path: Path) -> None:
    deaths = [{"after": 2}, {"after": 4}]
    Comparison(tf_process, tmp_path, model=kind).check(deaths, save=1)


@pytest.mark.parametrize("kind", ["stopping", "swap_ema", "scheduler"])
def test_callbacks(kind: str, tf_process: Any, tmp_path: Path) -> None:
    options = {"model": "ema"} if kind == "swap_ema" else {}
    Comparison(tf_process, tmp_path, callbacks=kind, epochs=6, **options).check([{"batch": [1, 3]}, {"evaluation": [3, 1]}], save=3)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "moment"), list(itertools.product(DATA, MOMENTS)))
def test_every_kind_at_every_moment(kind: str, moment: str, tf_process: Any, tmp_path: Path) -> None:
    Comparison(tf_process, tmp_path, data=kind).check(MOMENTS[moment], save=1)
