"""Programs that draw from `tf.random` in traced functions, for `test_draw_replacement.py`."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit

ROWS, WIDTH, LATENT = 48, 12, 3


class _Losses:
    """All losses of a run, which are part of its state.

    Args:
        dies: after how many losses of this process it is killed; 0 for never.
    """

    def __init__(self, dies: int) -> None:
        self.all: list[list[float]] = []
        self._left = dies

    def add(self, *values: Any) -> None:
        self.all.append([float(value) for value in values])
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def get_state(self) -> list[list[float]]:
        return self.all

    def set_state(self, state: list[list[float]]) -> None:
        self.all = state


def _digest(*values: Any) -> str:
    return hashlib.sha256(b"".join(np.asarray(value).tobytes() for value in values)).hexdigest()


def _bits(*holders: Any) -> str:
    return _digest(*(variable.numpy() for holder in holders for variable in holder.variables))


def _rows(seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(ROWS, WIDTH)).astype("float32")


class Sampling(layers.Layer):
    """The layer of the guides, as it stands there."""

    def call(self, inputs: Any) -> Any:
        z_mean, z_log_var = inputs
        epsilon = tf.random.normal(shape=tf.shape(z_mean))
        return z_mean + tf.exp(0.5 * z_log_var) * epsilon


class VAE(keras.Model):
    """A variational autoencoder as the guides write it, with a dropout in its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop = layers.Dense(8, "relu"), layers.Dropout(0.2)
        self.mean, self.log_var = layers.Dense(LATENT), layers.Dense(LATENT)
        self.sampling, self.decoder = Sampling(), layers.Dense(WIDTH)

    def call(self, inputs: Any, training: bool = False) -> Any:
        hidden = self.drop(self.hidden(inputs), training=training)
        mean, log_var = self.mean(hidden), self.log_var(hidden)
        divergence = -0.5 * tf.reduce_mean(1 + log_var - tf.square(mean) - tf.exp(log_var))
        self.add_loss(divergence)
        return self.decoder(self.sampling([mean, log_var]))


def vae(run: str, seed: int, dies: int, options: dict[str, Any], earlier: bool = False) -> Any:
    """A `fit` with an evaluation after each epoch.

    Args:
        options: further arguments of `compile`.
        earlier: whether the functions were traced by an earlier `fit`.
    """

    class Dies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            losses.add(logs["loss"])

        def get_state(self) -> Any:
            return losses.get_state()

        def set_state(self, state: Any) -> None:
            losses.set_state(state)

    keras.utils.set_random_seed(seed)
    losses, rows = _Losses(dies), _rows(seed)
    model = VAE()
    model.compile("adam", "mse", **options)
    if earlier:
        model.fit(rows, rows, batch_size=8, verbose=0, validation_data=(rows, rows))
    ours = ckptkit.CheckpointCallback(
        run, save=ckptkit.EveryNSteps(2), background=False, export=False, exact="replace"
    )
    history = model.fit(
        rows,
        rows,
        batch_size=8,
        epochs=3,
        verbose=0,
        validation_data=(rows[:16], rows[:16]),
        callbacks=[ours, Dies()],
    )
    return [_bits(model, model.optimizer), losses.all, history.history]


def gan(run: str, seed: int, dies: int, jit: bool) -> Any:
    """The loop of the DCGAN guide, on small data."""
    tf.random.set_seed(seed)
    keras.utils.set_random_seed(seed)
    losses = _Losses(dies)
    generator = keras.Sequential(
        [
            keras.Input((LATENT,)),
            layers.Dense(16),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Dense(WIDTH),
        ]
    )
    discriminator = keras.Sequential(
        [keras.Input((WIDTH,)), layers.Dense(16), layers.Dropout(0.3), layers.Dense(1)]
    )
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    optimizers = [keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2)]
    for optimizer, model in zip(optimizers, (generator, discriminator), strict=True):
        optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=jit)
    def train_step(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        noise = tf.random.normal([8, LATENT])
        with tf.GradientTape() as gen_tape, tf.GradientTape() as disc_tape:
            generated = generator(noise, training=True)
            # Labels are smoothed at random, in a loop of the graph.
            smooth = tf.ones(())
            for _ in tf.range(3):
                smooth -= tf.random.uniform((), 0.0, 0.05)
            real = discriminator(images, training=True)
            fake = discriminator(generated, training=True)
            gen_loss = cross_entropy(tf.ones_like(fake), fake)
            disc_loss = cross_entropy(smooth * tf.ones_like(real), real)
            disc_loss += cross_entropy(tf.zeros_like(fake), fake)
        for tape, loss, model, optimizer in (
            (gen_tape, gen_loss, generator, optimizers[0]),
            (disc_tape, disc_loss, discriminator, optimizers[1]),
        ):
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return gen_loss, disc_loss

    darkening = tf.function(lambda: tf.random.uniform((), 0.0, 0.1))
    state = {
        "generator": generator,
        "discriminator": discriminator,
        "first": optimizers[0],
        "second": optimizers[1],
        "losses": losses,
    }
    dataset = tf.data.Dataset.from_tensor_slices(_rows(seed)).shuffle(ROWS).batch(8)
    with ckptkit.CheckpointManager(
        run, state, save=ckptkit.EveryNSteps(2), background=False, exact="replace"
    ) as manager:
        for _ in manager.epochs(3):
            level = darkening()  # drawn again if the epoch is resumed in its middle
            for images in manager.data(dataset):
                losses.add(level, *train_step(images - level))
    return [_bits(generator, discriminator, *optimizers), losses.all]


def places(run: str, seed: int, dies: int) -> Any:
    """A loop over `steps` that draws in all parts of a graph, from all operations."""
    tf.random.set_seed(seed)
    losses, total = _Losses(dies), tf.Variable(tf.zeros(6, tf.float64))
    inner = tf.function(lambda: tf.random.normal([2], dtype=tf.float64))

    @tf.function
    def step() -> tf.Tensor:
        drawn = [inner(), tf.random.normal([1], dtype=tf.float64, seed=5)]
        drawn.append(
            tf.cond(
                tf.random.uniform(()) > 0.5,
                lambda: tf.random.gamma([1], 0.5, dtype=tf.float64),
                lambda: tf.random.truncated_normal([1], dtype=tf.float64),
            )
        )
        drawn.append(tf.cast(tf.random.shuffle(tf.range(100))[:1], tf.float64))
        chosen = tf.random.categorical(tf.zeros([1, 9]), 1)[0]
        drawn.append(tf.cast(chosen + tf.random.uniform([1], 0, 9, tf.int64), tf.float64))
        values = tf.concat(drawn, 0) + tf.random.poisson([], [3.0], tf.float64)
        for _ in tf.range(3):
            values += tf.map_fn(lambda each: each * tf.random.uniform((), dtype=tf.float64), values)
        return total.assign_add(values)

    with ckptkit.CheckpointManager(
        run,
        {"losses": losses, "total": total},
        save=ckptkit.EveryNSteps(2),
        background=False,
        exact="replace",
    ) as manager:
        for _ in manager.steps(14):
            losses.add(*step())
    return losses.all


def two_runs(work: str, seeds: list[int], only_second: bool) -> Any:
    """One traced function in two runs of a process, each with a seed of its own."""
    found = []
    draw = tf.function(lambda: tf.random.normal([3]))
    for number, seed in enumerate(seeds):
        if number == 0 and only_second:
            continue
        tf.random.set_seed(seed)
        total = tf.Variable(tf.zeros(3))
        with ckptkit.CheckpointManager(
            f"{work}/{number}", {"total": total}, background=False, exact="replace"
        ) as manager:
            for _ in manager.steps(3):
                total.assign_add(draw())
        found.append(_digest(total.numpy()))
    return found[-1]


def not_replaced(run: str, exact: str, candidates: bool) -> Any:
    """A loop whose function was traced before the run was opened; returns what was logged.

    Args:
        exact: the option.
        candidates: whether the function is traced in time, and draws from a candidate sampler.
    """
    said: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logging.getLogger("ckptkit").addHandler(Keeps(logging.WARNING))
    draw = tf.function(lambda: tf.random.normal([3]))
    if candidates:  # negative samples, for which there is no stateless operation
        draw = tf.function(
            lambda: tf.cast(
                tf.random.log_uniform_candidate_sampler(
                    tf.constant([[1]], tf.int64), 1, 3, True, 50
                )[0],
                tf.float32,
            )
        )
    else:
        draw()
    total = tf.Variable(tf.zeros(3))
    manager = ckptkit.CheckpointManager(run, {"total": total}, background=False, exact=exact)
    try:
        with manager:
            for _ in manager.steps(3):
                total.assign_add(draw())
    except ckptkit.ConfigError as error:
        return str(error)
    return said


def untouched(run: str) -> Any:
    """What must stay as it is while operations are replaced.

    Returns:
        By name, whether it did.
    """
    from tensorflow.python.ops import gen_random_ops

    make, found = gen_random_ops.random_standard_normal, {}
    total = tf.Variable(tf.zeros(()))

    class Noisy(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs) + tf.random.normal((1, 2))

    def operations(function: Any) -> set[str]:
        return {each.type for each in function.get_concrete_function().graph.get_operations()}

    model = Noisy()
    model(tf.zeros((1, 3)))
    with ckptkit.CheckpointManager(run, {"total": total}, exact="replace") as manager:
        for _ in manager.steps(1):
            tf.random.set_seed(3)
            eager = float(tf.random.normal(()))
            found["replaced"] = "RandomStandardNormal" not in operations(
                tf.function(lambda: tf.random.normal(()))
            )
            found["raw"] = "RandomStandardNormal" in operations(
                tf.function(lambda: tf.raw_ops.RandomStandardNormal(shape=[2], dtype=tf.float32))
            )
            pipeline = tf.data.Dataset.range(3).map(lambda _: tf.random.normal(()))
            function = next(iter(pipeline._functions())).function  # type: ignore[attr-defined]
            found["tf.data"] = "RandomStandardNormal" in {
                each.type for each in function.graph.get_operations()
            }
            model.export(f"{run}/exported", verbose=False)
            served = tf.saved_model.load(f"{run}/exported")
            found["export"] = served.serve(tf.zeros((1, 3))).shape == (1, 2)
            with tf.Graph().as_default() as graph:
                tf.random.normal((2,))
            found["graph"] = "RandomStandardNormal" in {
                each.type for each in graph.get_operations()
            }
    tf.random.set_seed(3)
    found["eager"] = float(tf.random.normal(())) == eager
    found["after"] = gen_random_ops.random_standard_normal is make
    return found


def moments(run: str, seed: int) -> dict[str, list[float]]:
    """Returns mean and variance of many numbers, drawn in several turns, by what drew them."""
    tf.random.set_seed(seed)
    half = tf.constant(0.5)

    @tf.function
    def draw() -> dict[str, tf.Tensor]:
        return {
            "normal": tf.random.normal([20000], 2.0, 3.0),
            "uniform": tf.random.uniform([20000], -1.0, 3.0),
            "truncated": tf.random.truncated_normal([20000]),
            "integers": tf.cast(tf.random.uniform([20000], 2, 12, tf.int32), tf.float32),
            "gamma": tf.random.gamma([20000], half, 2.0),
            "poisson": tf.random.poisson([20000], 4.0),
            "categories": tf.cast(
                tf.random.categorical(tf.math.log([[0.2, 0.8]]), 20000)[0], tf.float32
            ),
            "shuffled": tf.random.shuffle(tf.range(20000.0))[:2000] / 20000,
            "vectorized": tf.vectorized_map(lambda _: tf.random.normal(()), tf.zeros(2000)),
        }

    drawn: dict[str, list[Any]] = {}
    with ckptkit.CheckpointManager(
        run, {"total": tf.Variable(0.0)}, background=False, exact="replace"
    ) as manager:
        for _ in manager.steps(5):
            for name, values in draw().items():
                drawn.setdefault(name, []).append(values.numpy())
    for name, parts in drawn.items():
        assert len({part.tobytes() for part in parts}) == 5, f"{name} draws the same again"
    joined = {name: np.concatenate(parts) for name, parts in drawn.items()}
    return {name: [float(each.mean()), float(each.var())] for name, each in joined.items()}
