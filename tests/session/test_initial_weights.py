"""`init_from`: a new run begins with saved weights, and only a new one."""

from __future__ import annotations

import random
import re

import keras
import numpy as np
import pytest

import ckptkit


def network(outputs: int = 2, width: int = 8, **options) -> keras.Model:
    """A model with a named head, a layer with moving statistics, and an optimizer with slots."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(width, name="body"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(outputs, name="head"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01, **options), "mse", run_eagerly=True)
    return model


def rows(outputs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(32, 4)).astype("float32"), rng.normal(size=(32, outputs))


def bits(variables) -> list[bytes]:
    return [np.asarray(variable).tobytes() for variable in variables]


def kernel(model: keras.Model, layer: str) -> bytes:
    return np.asarray(model.get_layer(layer).kernel).tobytes()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A finished run with averages, and its model."""
    seed, tmp_path = random.randrange(2**31), tmp_path_factory.mktemp("runs")
    print(f"{seed=}")
    model = network(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=None)
    model.fit(
        *rows(2, seed),
        epochs=2,
        batch_size=8,
        verbose=0,
        callbacks=[ckptkit.CheckpointCallback(tmp_path / "earlier", export=False, exact="off")],
    )
    return tmp_path / "earlier", model


class Seen(keras.callbacks.Callback):
    """Notes the weights before the first step, and can end training there."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__()
        self.first: list[bytes] | None = None
        self.iterations: int | None = None
        self.die_at = die_at

    def on_train_batch_begin(self, batch, logs=None):
        if self.first is None:
            self.first = bits(self.model.weights)
            self.iterations = int(self.model.optimizer.iterations)
        if batch == self.die_at:
            raise KeyboardInterrupt


def train(directory, model, outputs, seed, *callbacks, epochs=1, **options) -> None:
    callback = ckptkit.CheckpointCallback(directory, export=False, exact="off", **options)
    model.fit(
        *rows(outputs, seed),
        epochs=epochs,
        batch_size=8,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, callback],
    )


def test_fine_tuning_begins_with_the_weights_and_a_new_optimizer(tmp_path, earlier, seed, caplog):
    source, old = earlier
    seen = Seen()
    train(tmp_path / "new", network(), 2, seed, seen, init_from=source)
    assert seen.first == bits(old.weights)
    assert seen.iterations == 0
    (event,) = [
        each for each in ckptkit.open_run(tmp_path / "new").journal if each.event == "warm_started"
    ]
    assert (event.name, event.weights) == ("model", len(old.weights))
    assert str(source) in event.source


def test_a_killed_run_resumes_its_own_progress(tmp_path, earlier, seed):
    """The warm start is repeated only while there is nothing to resume."""
    source, old = earlier
    unsaved = Seen(die_at=1)
    with pytest.raises(KeyboardInterrupt):
        train(
            tmp_path / "new", network(), 2, seed, unsaved, init_from=source,
            preemption=ckptkit.Preemption(signals=()), save=ckptkit.EveryNSteps(1000),
        )  # fmt: skip
    again = Seen()
    train(tmp_path / "new", network(), 2, seed, again, init_from=source)
    assert again.first == unsaved.first == bits(old.weights)
    trained = network()
    train(tmp_path / "new", trained, 2, seed, epochs=2, init_from=source)
    # The same training without interruption.
    whole = network()
    train(tmp_path / "whole", whole, 2, seed, epochs=2, init_from=source)
    assert bits(trained.weights) == bits(whole.weights)
    # The source may be gone once the run has a checkpoint.
    train(tmp_path / "new", network(), 2, seed, epochs=3, init_from=tmp_path / "gone")


def test_a_model_that_is_not_built_is_built_first(tmp_path, seed):
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.body, self.head = keras.layers.Dense(8), keras.layers.Dense(2)

        def call(self, x):
            return self.head(self.body(x))

    def made():
        model = Two()
        model.compile("adam", "mse", run_eagerly=True)
        return model

    old, seen = made(), Seen()
    train(tmp_path / "old", old, 2, seed)
    train(tmp_path / "new", made(), 2, seed, seen, init_from=tmp_path / "old")
    assert seen.first == bits(old.weights)
    assert seen.iterations == 0


def test_a_new_head_keeps_its_own_weights(tmp_path, earlier, seed):
    source, old = earlier
    model = network(outputs=5)
    before = kernel(model, "head")
    with pytest.raises(ckptkit.IncompatibleStateError, match=r"(?s)shape.*head.*without=\['head/"):
        train(tmp_path / "refused", model, 5, seed, init_from=source)
    assert kernel(model, "head") == before
    seen = Seen()
    start = ckptkit.WarmStart(source, without=("head/*",))
    train(tmp_path / "new", model, 5, seed, seen, init_from=start)
    assert seen.first[:6] == bits(old.weights)[:6]
    assert seen.first[6] == before


def test_lora_weights_are_left_out_by_a_pattern(tmp_path, earlier, seed):
    source, old = earlier
    model = network()
    model.get_layer("body").enable_lora(2)
    model.compile("adam", "mse")
    with pytest.raises(ckptkit.IncompatibleStateError, match="lora"):
        train(tmp_path / "refused", model, 2, seed, init_from=source)
    train(
        tmp_path / "new", model, 2, seed, init_from=ckptkit.WarmStart(source, without=("*lora*",))
    )
    frozen = np.asarray(model.get_layer("body")._kernel)
    assert frozen.tobytes() == kernel(old, "body")


def test_another_width_is_refused_with_the_table(tmp_path, earlier, seed):
    source, _ = earlier
    model = network(width=16)
    before = bits(model.weights)
    with pytest.raises(ckptkit.IncompatibleStateError, match=r"(?s)\(4, 8\).*\(4, 16\)"):
        train(tmp_path / "new", model, 2, seed, init_from=source)
    assert bits(model.weights) == before


def test_averages_instead_of_weights(tmp_path, seed):
    model = network(use_ema=True, ema_momentum=0.5)
    with ckptkit.CheckpointManager(tmp_path / "loop", {"net": model}) as manager:
        for step in range(1, 4):
            model.train_on_batch(*rows(2, seed + step))
            manager.save(step)
    averages = [each for each in model.optimizer.variables if each.path.endswith("_average")]
    assert len(averages) == len(model.trainable_weights)
    other = network()
    start = ckptkit.WarmStart(f"{tmp_path}/loop@3", averages=True)
    with ckptkit.CheckpointManager(tmp_path / "new", {"net": other}, init_from=start):
        assert bits(other.trainable_weights) == bits(averages) != bits(model.trainable_weights)
        assert bits(other.non_trainable_weights) == bits(model.non_trainable_weights)
    none = ckptkit.WarmStart(tmp_path / "new", averages=True)
    with ckptkit.CheckpointManager(tmp_path / "new", {"net": other}) as manager:
        manager.save(1)
    with pytest.raises(ckptkit.CheckpointNotFoundError, match="use_ema"):
        ckptkit.CheckpointManager(
            tmp_path / "third", {"net": network()}, init_from=none
        ).restore_or_initialize()


def test_the_optimizer_too_but_with_the_rate_of_the_code(tmp_path, seed):
    model = network()
    with ckptkit.CheckpointManager(tmp_path / "loop", {"net": model}) as manager:
        model.train_on_batch(*rows(2, seed))
        manager.save(1)
    other = network()
    other.optimizer.learning_rate = 0.5
    start = ckptkit.WarmStart(tmp_path / "loop", optimizer=True)
    with ckptkit.CheckpointManager(tmp_path / "new", {"net": other}, init_from=start):
        for mine, theirs in zip(other.optimizer.variables, model.optimizer.variables, strict=True):
            if "learning_rate" in mine.path:
                assert float(mine.value) == 0.5
            else:
                assert bits([mine]) == bits([theirs]), mine.path
    sgd = network()
    sgd.compile("sgd", "mse")
    with pytest.raises(ckptkit.IncompatibleStateError, match="leave out optimizer=True"):
        ckptkit.CheckpointManager(
            tmp_path / "third", {"net": sgd}, init_from=start
        ).restore_or_initialize()


def test_several_models_by_their_names(tmp_path, seed):
    first = {"g": network(), "d": network(outputs=3)}
    with ckptkit.CheckpointManager(tmp_path / "gan", first) as manager:
        manager.save(7)
    second = {"g": network(), "d": network(outputs=3)}
    with ckptkit.CheckpointManager(tmp_path / "a", second, init_from=f"{tmp_path}/gan@7"):
        assert all(bits(second[name].weights) == bits(first[name].weights) for name in first)
    file = tmp_path / "g.weights.h5"
    first["d"].save_weights(file)
    third = {"g": network(), "d": network(outputs=3)}
    with pytest.raises(ckptkit.ConfigError, match=r"source for each, as in init_from=\{'g'"):
        ckptkit.CheckpointManager(tmp_path / "b", third, init_from=file).restore_or_initialize()
    with ckptkit.CheckpointManager(tmp_path / "c", third, init_from={"d": file}):
        assert bits(third["d"].weights) == bits(first["d"].weights)
        assert bits(third["g"].weights) != bits(first["g"].weights)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "a path such as 'runs/a@best'"),
        (ckptkit, "a path such as 'runs/a@best'"),
        ("", "names a run"),
        ({"nobody": "runs/a"}, "no Keras model in state"),
    ],
)
def test_a_wrong_argument_is_refused(tmp_path, given, message):
    with pytest.raises(ckptkit.ConfigError, match=message):
        ckptkit.CheckpointManager(
            tmp_path / "new", {"net": network()}, init_from=given
        ).restore_or_initialize()


def test_a_model_with_weights_is_no_source(tmp_path):
    with pytest.raises(ckptkit.ConfigError, match="needs no init_from"):
        ckptkit.CheckpointCallback(tmp_path / "new", init_from=network())


def test_the_errors_of_a_second_phase_name_it(tmp_path, seed):
    source = tmp_path / "first"
    train(source, network(), 2, seed)
    remedy = re.escape(f"init_from={str(source)!r}")
    frozen = network()
    frozen.get_layer("body").trainable = False
    frozen.compile(keras.optimizers.Adam(0.01), "mse")
    with pytest.raises(ckptkit.ConfigError, match=remedy):
        train(source, frozen, 2, seed, epochs=3)
    with pytest.raises(ckptkit.ConfigError, match=remedy):
        ckptkit.CheckpointManager(source, {"model": network(width=9)}).restore_or_initialize()
    loop = tmp_path / "loop"
    with ckptkit.CheckpointManager(loop, {"model": network()}) as manager:
        manager.save(1)
    with pytest.raises(ckptkit.IncompatibleStateError, match=re.escape(repr(str(loop)))):
        ckptkit.CheckpointManager(loop, {"model": network(width=9)}).restore_or_initialize()
