"""What `init_from` takes and what it leaves: exactly what was named, or nothing."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.layers import Dense

import ckptkit
from tests.session.test_initial_weights import bits


def network(names=("body", "head"), widths=(4, 2), **options) -> keras.Model:
    layers = [Dense(width, name=name) for name, width in zip(names, widths, strict=True)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.Adam(0.01, **options), "mse", run_eagerly=True)
    return model


def train(model: keras.Model, seed: int, times: int = 1) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(times):
        x = rng.normal(size=(8, 4)).astype("float32")
        model.train_on_batch(x, rng.normal(size=(8, model.output_shape[-1])))


def save(directory, **models) -> None:
    with ckptkit.CheckpointManager(directory, models) as manager:
        manager.save(1)


def begin(directory, given, **state) -> None:
    with ckptkit.CheckpointManager(directory, state, init_from=given):
        pass


def averages_of(optimizer) -> list[bytes]:
    return bits(each for each in optimizer.variables if each.path.endswith("_average"))


def test_averages_are_those_of_the_model(tmp_path, seed):
    """Two models with the same names and shapes, each with averages."""
    a, b = network(use_ema=True), network(use_ema=True)
    for _ in range(2):
        train(a, seed)
        train(b, seed + 1)
    save(tmp_path / "two", a=a, b=b)
    new = network()
    ckptkit.load_weights(new, tmp_path / "two", name="b", averages=True)
    assert bits(new.weights) == averages_of(b.optimizer) != averages_of(a.optimizer)


def test_averages_of_an_optimizer_beside_the_model(tmp_path):
    model = network()
    several = [keras.optimizers.Adam(use_ema=True) for _ in range(2)]
    for optimizer in several:
        optimizer.build(model.trainable_variables)
    average = next(each for each in several[0].variables if each.path.endswith("_average"))
    average.assign(np.full(average.shape, 3.0))
    save(tmp_path / "one", net=model, optimizer=several[0])
    new = network()
    ckptkit.load_weights(new, tmp_path / "one", averages=True)
    assert bits(new.weights) == averages_of(several[0])
    save(tmp_path / "two", net=model, first=several[0], second=several[1])
    with pytest.raises(ckptkit.ConfigError, match=r"'first', 'second'.*not known which"):
        ckptkit.load_weights(new, tmp_path / "two", averages=True)


def test_a_layer_that_is_left_out_lands_in_no_other_layer(tmp_path):
    save(tmp_path / "old", model=network(widths=(4, 4)))
    new = network(("body", "extra", "classifier"), (4, 4, 3))
    before = bits(new.weights)
    start = ckptkit.WarmStart(tmp_path / "old", without=("head/*", "classifier/*"))
    with pytest.raises(ckptkit.IncompatibleStateError, match="extra/kernel"):
        begin(tmp_path / "new", start, model=new)
    assert bits(new.weights) == before


def test_a_layer_of_another_name_in_the_place_of_one_that_is_left_out(tmp_path):
    old, new = network(), network(("body", "classifier"))
    save(tmp_path / "old", model=old)
    before = bits(new.weights)
    # Only the saved head: the classifier would keep random values, and nobody has said so.
    with pytest.raises(ckptkit.IncompatibleStateError, match="classifier/kernel"):
        begin(tmp_path / "refused", ckptkit.WarmStart(tmp_path / "old", without=("head/*",)),
              model=new)  # fmt: skip
    begin(tmp_path / "new", ckptkit.WarmStart(tmp_path / "old", without=("classifier/*",)),
          model=new)  # fmt: skip
    assert bits(new.weights) == bits(old.weights)[:2] + before[2:]
    (event,) = (e for e in ckptkit.open_run(tmp_path / "new").journal if e.event == "warm_started")
    assert [each.rpartition("/")[2] for each in event.left_out] == ["kernel", "bias"]
    assert (event.weights, event.averages, event.optimizer) == (2, False, False)


@pytest.mark.parametrize(
    ("pattern", "message"), [("haed/*", "'haed/.*matches no weight"), ("*", "leaves out every")]
)
def test_a_pattern_without_a_meaning_is_refused(tmp_path, pattern, message):
    save(tmp_path / "old", model=network())
    new = network()
    before = bits(new.weights)
    with pytest.raises(ckptkit.ConfigError, match=message):
        begin(tmp_path / "new", ckptkit.WarmStart(tmp_path / "old", without=(pattern,)), model=new)
    with pytest.raises(ckptkit.ConfigError, match=message):
        ckptkit.load_weights(new, tmp_path / "old", without=[pattern])
    assert bits(new.weights) == before


def test_one_pattern_for_several_models(tmp_path):
    old = {"g": network(), "d": network(("body", "other"))}
    save(tmp_path / "old", **old)
    new = {"g": network(), "d": network(("body", "other"))}
    head = bits(new["g"].weights)[2:]
    begin(tmp_path / "new", ckptkit.WarmStart(tmp_path / "old", without=("head/*",)), **new)
    assert bits(new["g"].weights) == bits(old["g"].weights)[:2] + head
    assert bits(new["d"].weights) == bits(old["d"].weights)


def test_nothing_is_loaded_twice_over_what_was_trained(tmp_path, seed):
    save(tmp_path / "old", model=network())
    model = network()
    manager = ckptkit.CheckpointManager(
        tmp_path / "new", {"model": model}, init_from=tmp_path / "old"
    )
    manager.restore_or_initialize()
    train(model, seed)
    trained = bits(model.weights)
    manager.restore_or_initialize()
    assert bits(model.weights) == trained
    manager.close()


@pytest.mark.parametrize("beside", [False, True])
def test_an_optimizer_that_has_trained_is_no_new_one(tmp_path, seed, beside):
    """As after an exception before the first save, in a process that calls `fit` again."""
    save(tmp_path / "old", model=network())
    model = network()
    train(model, seed)
    state = {"model": model}
    if beside:
        state["optimizer"] = model.optimizer
        model.compile("sgd", "mse")
    before = bits(model.weights)
    with pytest.raises(ckptkit.ConfigError, match=r"has done 1 updates.*model.compile"):
        begin(tmp_path / "new", tmp_path / "old", **state)
    assert bits(model.weights) == before


def test_an_optimizer_under_a_strategy(tmp_path):
    save(tmp_path / "old", model=network())
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        new = network()
    begin(tmp_path / "new", tmp_path / "old", model=new)


def test_optimizers_of_several_sources(tmp_path, seed):
    for name, times in (("a", 2), ("b", 4)):
        models = {"g": network(), "d": network()}
        for model in models.values():
            train(model, seed, times)
        save(tmp_path / name, **models)
    new = {"g": network(), "d": network()}
    start = {
        "g": ckptkit.WarmStart(tmp_path / "a", optimizer=True),
        "d": ckptkit.WarmStart(tmp_path / "b", name="g", optimizer=True),
    }
    begin(tmp_path / "new", {**start, "g": ckptkit.WarmStart(tmp_path / "a", "g", optimizer=True)},
          **new)  # fmt: skip
    assert [int(each.optimizer.iterations) for each in new.values()] == [2, 4]


def test_an_optimizer_of_another_name(tmp_path, seed):
    """As a custom loop names its model, and `fit` names it `model`."""
    old = network()
    train(old, seed)
    save(tmp_path / "loop", net=old)
    new = network()
    start = ckptkit.WarmStart(tmp_path / "loop", optimizer=True)
    begin(tmp_path / "new", start, model=new)
    assert bits(new.weights) == bits(old.weights)
    assert bits(new.optimizer.variables) == bits(old.optimizer.variables)


def test_an_optimizer_beside_the_model(tmp_path, seed):
    def made():
        model, optimizer = network(), keras.optimizers.Adam(0.01)
        model.compile("sgd", "mse")
        model.optimizer = None
        optimizer.build(model.trainable_variables)
        return model, optimizer

    (model, optimizer), (new, second) = made(), made()
    optimizer.iterations.assign(5)
    save(tmp_path / "old", net=model, adam=optimizer)
    start = ckptkit.WarmStart(tmp_path / "old", optimizer=True)
    begin(tmp_path / "new", start, model=new, optimizer=second)
    assert int(second.iterations) == 5
    with pytest.raises(ckptkit.ConfigError, match="Compile each model"):
        begin(tmp_path / "third", {"g": start}, g=made()[0], d=made()[0])


def test_nothing_is_assigned_if_the_optimizer_does_not_match(tmp_path):
    save(tmp_path / "old", model=network())
    new = network()
    new.compile("sgd", "mse")
    before = bits(new.weights)
    with pytest.raises(ckptkit.IncompatibleStateError, match="leave out optimizer=True"):
        begin(tmp_path / "new", ckptkit.WarmStart(tmp_path / "old", optimizer=True), model=new)
    assert bits(new.weights) == before


def test_one_checkpoint_of_a_source_for_all_models(tmp_path, monkeypatch):
    """The source saves once more while the first model is read."""
    old = {"g": network(), "d": network()}
    with ckptkit.CheckpointManager(tmp_path / "old", old) as source:
        source.save(1)
        first = {name: bits(model.weights) for name, model in old.items()}
        reading = ckptkit.load.warm_start_loading.read_matching

        def saving(*args, **options):
            if source.latest_step == 1:
                old["d"].weights[0].assign(old["d"].weights[0] + 1.0)
                source.save(2)
            return reading(*args, **options)

        monkeypatch.setattr(ckptkit.load.warm_start_loading, "read_matching", saving)
        new = {"g": network(), "d": network()}
        begin(tmp_path / "new", tmp_path / "old", **new)
    assert {name: bits(model.weights) for name, model in new.items()} == first


@pytest.mark.parametrize("inside", ["", "@1", "/checkpoints/ckpt-1-1"])
def test_the_run_itself_is_no_source(tmp_path, inside):
    save(tmp_path / "run", model=network())
    with pytest.raises(ckptkit.ConfigError, match=r"names the run itself.*another directory"):
        begin(f"{tmp_path}/run", f"{tmp_path}/run{inside}", model=network())
    # What a fresh start has moved aside is a source.
    with ckptkit.CheckpointManager(tmp_path / "run", {"model": network()}, fresh="two"):
        pass
    (aside,) = (tmp_path / "run" / "aside").iterdir()
    source = aside / "ckpt-1-1" / "ckpt-1"
    begin(tmp_path / "run", source, model=network())
