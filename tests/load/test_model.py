"""`load_model`: models that are built again, so that training can go on with them."""

from __future__ import annotations

import json
import random

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.layout import RunLayout
from ckptkit.testing import FaultyFiles
from tests.load.conftest import Blocks, bits, network, saved_in, trained


def data(rows: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    return rng.normal(size=(rows, 4)).astype("float32"), rng.normal(size=(rows, 2)).astype(
        "float32"
    )


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 1) -> None:
    model.fit(
        *data(), epochs=epochs, batch_size=4, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def everything(model: keras.Model) -> list[bytes]:
    """Weights, random states of layers, the optimizer."""
    return [
        variable.numpy().tobytes() for variable in (*model.variables, *model.optimizer.variables)
    ]


def compiled(kind: str = "sequential") -> keras.Model:
    model = network(kind=kind)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.02, clipnorm=1.5),
        keras.losses.Huber(0.3),
        metrics=["mae"],
    )
    return model


@pytest.mark.parametrize("form", ["run", "model.keras"])
def test_training_goes_on_with_the_same_bits(tmp_path, form, caplog):
    model = compiled()
    if form == "run":
        fit(model, ckptkit.CheckpointCallback(tmp_path / "run", export=False))
        source = tmp_path / "run"
    else:
        fit(model)
        model.save(tmp_path / "model.keras")
        source = tmp_path / "model.keras"
    keras.layers.Dense(1)
    with caplog.at_level("WARNING", logger="ckptkit"):
        again = ckptkit.load_model(source)
    if (
        form == "model.keras"
    ):  # which has neither the states of dropout nor all arguments of the loss
        assert "does not store the delta of the loss Huber" in caplog.text
        again.layers[2].layers[1].seed_generator.state.assign(
            model.layers[2].layers[1].seed_generator.state
        )
        again.compile(again.optimizer, keras.losses.Huber(0.3))
    assert everything(again) == everything(model)
    fit(model)
    fit(again)
    assert everything(again) == everything(model)


def test_the_weights_are_those_that_training_ended_with(tmp_path):
    model = network()
    model.compile(keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.5), "mse")
    fit(model, ckptkit.CheckpointCallback(tmp_path / "run", export=False), epochs=2)
    assert bits(ckptkit.load_model(tmp_path / "run")) == bits(model)
    fresh = network()
    ckptkit.load_weights(fresh, tmp_path / "run")
    assert bits(fresh) == bits(model)


def test_latest_best_and_a_step(tmp_path):
    model = compiled()
    seen = {}
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.update({6 * (epoch + 1): (logs["loss"], bits(model))})
    )
    fit(
        model,
        record,
        ckptkit.CheckpointCallback(
            tmp_path / "run", save=ckptkit.EveryNEpochs(1), keep=ckptkit.KeepLatest(9), export=False
        ),
        epochs=3,
    )
    best = min(seen, key=lambda step: seen[step][0])
    for asked, step in ((6, 6), (12, 12), ("latest", 18), ("best", best), (None, 18)):
        assert bits(ckptkit.load_model(tmp_path / "run", step=asked)) == seen[step][1]
        fresh = network()
        ckptkit.load_weights(fresh, tmp_path / "run", asked)
        assert bits(fresh) == seen[step][1]
    for load in (ckptkit.load_model, lambda *a, **b: ckptkit.load_weights(network(), *a, **b)):
        with pytest.raises(ckptkit.CheckpointNotFoundError, match="no checkpoint of step 7"):
            load(tmp_path / "run", step=7)
        with pytest.raises(ckptkit.ConfigError, match="step is a number"):
            load(tmp_path / "run", step="newest")


def test_a_damaged_newest_is_passed_over_aloud(tmp_path, caplog):
    model = network()
    with ckptkit.CheckpointManager(tmp_path / "run", {"model": model}, background=False) as manager:
        manager.save(1)
        expected = bits(model)
        model.set_weights([weight + 1 for weight in model.get_weights()])
        manager.save(2)
    newest = ckptkit.open_run(tmp_path / "run").find()
    path = newest.prefix.with_name(newest.prefix.name + ".data-00000-of-00001")
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)
    with caplog.at_level("WARNING", logger="ckptkit"):
        assert bits(ckptkit.load_model(tmp_path / "run")) == expected
        fresh = network()
        ckptkit.load_weights(fresh, tmp_path / "run")
    assert bits(fresh) == expected
    assert "ckpt-2-1 is damaged" in caplog.text
    assert newest.path.is_dir(), "a reader moves nothing"
    with pytest.raises(ckptkit.CorruptCheckpointError):
        ckptkit.load_weights(network(), tmp_path / "run", 2)


def test_several_models_of_a_run(tmp_path):
    first, second, third = network(2), network(3), network(3)
    with ckptkit.CheckpointManager(
        tmp_path / "run", {"g": first, "d": second, "e": third}
    ) as manager:
        manager.save(1)
    assert bits(ckptkit.load_model(tmp_path / "run", name="d")) == bits(second)
    fresh = network(2)
    ckptkit.load_weights(fresh, tmp_path / "run")  # only one has this form
    assert bits(fresh) == bits(first)
    for call in (
        lambda: ckptkit.load_model(tmp_path / "run"),
        lambda: ckptkit.load_weights(network(3), tmp_path / "run"),
    ):
        with pytest.raises(ckptkit.ConfigError, match=r"several models \('g', 'd', 'e'\).*name="):
            call()
    fresh = network(3)
    ckptkit.load_weights(fresh, tmp_path / "run", name="e")
    assert bits(fresh) == bits(third)
    with pytest.raises(ckptkit.CheckpointNotFoundError, match="no model 'f'"):
        ckptkit.load_model(tmp_path / "run", name="f")


@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        ("mse", ["mae"]),
        ("huber", [keras.metrics.MeanSquaredError()]),
        (keras.losses.LogCosh(), ["mape", "mse"]),
    ],
)
def test_an_h5_file_of_any_loss_is_trained_on(tmp_path, loss, metrics):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, metrics=metrics)
    fit(model)
    model.save(tmp_path / "model.h5")
    again = ckptkit.load_model(tmp_path / "model.h5")
    assert everything(again) == everything(model)
    fit(model)
    fit(again)
    assert everything(again) == everything(model)
    assert again.evaluate(*data(), verbose=0) == model.evaluate(*data(), verbose=0)


OF_KERAS_2 = {
    "loss": {
        "class_name": "Huber",
        "config": {"reduction": "auto", "name": "huber_loss", "delta": 0.5, "fn": "huber"},
    },
    "metrics": [
        [
            {
                "class_name": "MeanMetricWrapper",
                "config": {"name": "mae", "dtype": "float32", "fn": "mean_absolute_error"},
            }
        ]
    ],
    "weighted_metrics": None,
    "loss_weights": None,
    "optimizer_config": {
        "class_name": "Custom>SGD",
        "config": {
            "name": "SGD",
            "weight_decay": None,
            "clipnorm": 1.5,
            "global_clipnorm": None,
            "clipvalue": None,
            "use_ema": False,
            "ema_momentum": 0.99,
            "ema_overwrite_frequency": None,
            "jit_compile": False,
            "is_legacy_optimizer": False,
            "learning_rate": 0.25,
            "momentum": 0.9,
            "nesterov": False,
        },
    },
}
"""What Keras 2 writes into an .h5 file; taken from one of tf_keras 2.21."""


def test_an_h5_file_that_keras_2_has_written_is_trained_on(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(
        keras.optimizers.SGD(0.25, momentum=0.9, clipnorm=1.5),
        keras.losses.Huber(delta=0.5),
        metrics=["mae"],
    )
    model.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file.attrs["keras_version"], file.attrs["training_config"] = (
            "2.15.0",
            json.dumps(OF_KERAS_2),
        )
    again = ckptkit.load_model(tmp_path / "model.h5")
    fit(model)
    fit(again)
    assert everything(again) == everything(model)
    assert again.evaluate(*data(), verbose=0, return_dict=True) == model.evaluate(
        *data(), verbose=0, return_dict=True
    )


# -- what cannot be built says what is missing


class NoConfig(keras.Model):
    """A model whose arguments Keras cannot describe."""

    def __init__(self, function):
        super().__init__()
        self.function, self.dense = function, keras.layers.Dense(2)

    def call(self, x):
        return self.dense(self.function(x))


def unbuildable(why: str) -> keras.Model:
    if why == "no get_config":
        model = NoConfig(lambda x: x * 2)
        model(np.zeros((1, 4), "float32"))
        return model
    if why == "lambda":
        return keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Lambda(lambda x: x * 2, name="twice"),
                keras.layers.Dense(2),
            ]
        )
    raise AssertionError(why)


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("no get_config", "NoConfig"),
        ("lambda", "its Lambda layer 'twice' contains a function"),
    ],
)
def test_what_is_no_data_is_not_stored_and_said(tmp_path, why, said):
    model = unbuildable(why)
    with ckptkit.CheckpointManager(tmp_path / "run", {"model": model}) as manager:
        manager.save(1)
    (stored,) = RunLayout(tmp_path / "run").architecture.iterdir()
    assert json.loads(stored.read_text())["config"] is None
    with pytest.raises(ckptkit.ConfigError, match=f"(?s){said}.*load_weights"):
        ckptkit.load_model(tmp_path / "run")


@pytest.mark.parametrize("form", ["run", "model.keras"])
def test_a_class_of_ones_own_is_named_where_it_is_missing(tmp_path, form):
    model = trained(Blocks())
    source = saved_in(form, model, tmp_path)
    with pytest.raises(ckptkit.ConfigError, match=r"(?s)'Blocks'.*custom_objects"):
        ckptkit.load_model(source)
    again = ckptkit.load_model(source, {"Blocks": Blocks})
    assert everything(again) == everything(model)


@pytest.mark.parametrize("form", ["prefix", "keras export", "versions", "model.weights.h5"])
def test_formats_without_layers_say_what_to_do(tmp_path, form):
    source = saved_in(form, network(), tmp_path)
    with pytest.raises(ckptkit.ConfigError, match="load_weights"):
        ckptkit.load_model(source)


# -- what is stored


def test_one_file_for_all_attempts_with_one_architecture(tmp_path):
    for attempt in range(3):
        keras.utils.set_random_seed(attempt)
        model = compiled("functional" if attempt == 2 else "sequential")
        model(data(1)[0] if attempt < 2 else [data(1)[0]] * 2)
        keras.backend.clear_session()
        with ckptkit.CheckpointManager(tmp_path / str(attempt == 2), {"model": model}) as manager:
            for step in range(2):
                manager.save(2 * attempt + step)
    assert len(list((tmp_path / "False" / "architecture").iterdir())) == 1
    assert len(list((tmp_path / "True" / "architecture").iterdir())) == 1


def test_what_changes_in_a_run_is_stored_again(tmp_path):
    model = compiled()
    with ckptkit.CheckpointManager(
        tmp_path / "run", {"model": model}, background=False, keep=ckptkit.KeepLatest(5)
    ) as manager:
        manager.save(1)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        model.optimizer.build(model.trainable_variables)
        manager.save(2)
    assert [
        type(ckptkit.load_model(tmp_path / "run", step=step).optimizer).__name__ for step in (1, 2)
    ] == ["AdamW", "SGD"]


def test_a_disk_that_refuses_it_costs_no_checkpoint(tmp_path):
    files = FaultyFiles()
    manager = ckptkit.CheckpointManager(
        tmp_path / "run", {"model": network()}, background=False, files=files
    )
    manager.restore_or_initialize()
    files.fail(28, when=lambda step: "architecture" in str(step))
    manager.save(1)
    assert files.reached
    files.heal()
    manager.save(2)
    manager.close()
    run = ckptkit.open_run(tmp_path / "run")
    assert any(event.event == "tidying_failed" for event in run.journal)
    with pytest.raises(ckptkit.ConfigError, match="could not be stored"):
        ckptkit.load_model(tmp_path / "run", step=1)
    assert ckptkit.load_model(tmp_path / "run", step=2).count_params() == network().count_params()


@pytest.mark.parametrize("damage", ["gone", "flipped", "link", "later"])
def test_a_damaged_architecture_is_said(tmp_path, damage):
    with ckptkit.CheckpointManager(tmp_path / "run", {"model": network()}) as manager:
        manager.save(1)
    (path,) = (tmp_path / "run" / "architecture").iterdir()
    content = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content.replace(b"Dense", b"Densf"))
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    if damage == "later":
        path.write_bytes(content.replace(b'"format_version": 1', b'"format_version": 2'))
    with pytest.raises(ckptkit.CorruptCheckpointError, match="architecture"):
        ckptkit.load_model(tmp_path / "run")


def test_what_a_dead_process_left_is_removed(tmp_path):
    with ckptkit.CheckpointManager(tmp_path / "run", {"weight": tf.Variable(1.0)}) as manager:
        manager.save(1)
    left = tmp_path / "run" / "architecture" / f"{'0' * 32}.json.tmp"
    left.parent.mkdir()
    left.write_text("half")
    with ckptkit.CheckpointManager(tmp_path / "run", {"weight": tf.Variable(1.0)}):
        assert not left.exists()
