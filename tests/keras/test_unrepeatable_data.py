"""Data that no second run repeats, by itself: it is named before the first step."""

from __future__ import annotations

import random

import pytest

import ckptkit
from tests.keras.conftest import journal_events


def augmented(trainings, kind):
    """Return a dataset that draws random numbers, or changes a variable, for each element."""
    keras, tf = trainings.keras, trainings.tf
    keras.utils.set_random_seed(7)
    noise = keras.layers.GaussianNoise(0.5)

    def map_function(a, b):
        if kind == "layer":
            return noise(a, training=True), b
        return a + tf.random.normal(tf.shape(a)), b

    rows = tf.data.Dataset.from_tensor_slices(trainings.rows()).shuffle(32, seed=4)
    if kind == "any order":
        return rows.map(lambda a, b: (a, b), num_parallel_calls=4, deterministic=False).batch(8)
    calls = None if kind == "one at a time" else tf.data.AUTOTUNE
    return rows.map(map_function, num_parallel_calls=calls).batch(8)


def workers(trainings, kind, **options):
    """Return a `PyDataset` that draws random numbers for each batch."""
    np = trainings.np
    x, y = trainings.rows()
    shared = np.random.default_rng(3)

    noise = {
        "numpy": lambda index: np.random.normal(size=(8, 4)),
        "python": lambda index: random.random(),
        "shared": lambda index: shared.normal(size=(8, 4)),
        "by index": lambda index: np.random.default_rng((3, index)).normal(size=(8, 4)),
    }[kind]

    class Rows(trainings.keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            part = slice(index * 8, index * 8 + 8)
            return x[part] + noise(index), y[part]

    return Rows(**options)


def train(trainings, run, data, exact):
    callback = ckptkit.CheckpointCallback(run, exact=exact, export=False, background=False)
    model = trainings.model()
    before = trainings.bits(model)
    try:
        model.fit(data, epochs=1, verbose=0, callbacks=[callback])
    except ckptkit.ConfigError as error:
        assert trainings.bits(model) == before, "not before the first step"
        return str(error)
    return None


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("layer", "draws from the variable"),
        ("kernel", "draws from RandomStandardNormal"),
        ("any order", "with deterministic=False"),
    ],
)
def test_a_map_that_runs_in_parallel(trainings, run, kind, said):
    with trainings.logged() as lines:
        assert train(trainings, run, augmented(trainings, kind), "warn") is None
    (event,) = journal_events(run, "inexact")
    assert said in event.reason
    assert len([line for line in lines if said in line]) == 1
    required = train(trainings, run.with_name("new"), augmented(trainings, kind), "require")
    assert said in (required or "nothing was said")


def test_a_map_that_draws_for_one_element_after_the_other(trainings, run):
    assert train(trainings, run, augmented(trainings, "one at a time"), "require") is None


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("numpy", "draw from numpy.random.normal"),
        ("python", "draw from random.random"),
        ("shared", "draw from shared"),
    ],
)
def test_workers_that_share_a_generator(trainings, run, kind, said):
    data = workers(trainings, kind, workers=2)
    with trainings.logged() as lines:
        assert train(trainings, run, data, "warn") is None
    (event,) = journal_events(run, "inexact")
    assert f"Rows.__getitem__ can {said}" in event.reason
    assert "(workers=2)" in event.reason
    assert len([line for line in lines if said in line]) == 1
    for options in ({"workers": 3}, {"use_multiprocessing": True}):
        required = train(
            trainings, run.with_name("new"), workers(trainings, kind, **options), "require"
        )
        assert said in (required or "nothing was said")


def test_workers_that_draw_by_the_index_and_a_single_worker(trainings, run):
    data = workers(trainings, "by index", workers=2)
    assert train(trainings, run, data, "require") is None
    alone = workers(trainings, "numpy", workers=1)
    assert train(trainings, run.with_name("alone"), alone, "require") is None


def test_a_loop_over_a_map_that_runs_in_parallel(trainings, run):
    model, steps = trainings.model(), []
    manager = ckptkit.CheckpointManager(run, state={"model": model}, exact="require")
    with pytest.raises(ckptkit.ConfigError, match="draws from the variable"), manager:
        for _ in manager.epochs(1):
            for batch in manager.data(augmented(trainings, "layer")):
                steps.append(batch)
    assert steps == []
