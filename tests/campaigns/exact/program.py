"""A training program of many kinds, which can die at a given moment; what it saw and what it ended
with goes into files.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

import ckptkit
from tests.campaigns.exact.anchors import anchors_of

ROWS, BATCH, FEATURES = 88, 8, 6


# -- data


def arrays() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    x = generator.normal(size=(ROWS, FEATURES)).astype("float32")
    return x, (x[:, :1] * 2 - x[:, 1:2] + generator.normal(size=(ROWS, 1))).astype("float32")


class Rows(keras.utils.PyDataset):
    """Shuffles itself at each epoch's end with Python's global random state, and adds noise with
    NumPy's.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.x, self.y = arrays()
        self.order = list(range(ROWS))

    def __len__(self) -> int:
        return ROWS // BATCH

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[index * BATCH : (index + 1) * BATCH]
        noise = (
            0 if self.workers > 1 else np.random.normal(size=(BATCH, FEATURES)).astype("float32")
        )
        return self.x[rows] + noise, self.y[rows]

    def on_epoch_end(self) -> None:
        random.shuffle(self.order)


def endless(own: bool) -> Any:
    x, y = arrays()
    generator = np.random.default_rng(3)
    while True:
        rows = generator.integers(0, ROWS, BATCH) if own else np.random.randint(0, ROWS, BATCH)
        yield x[rows], y[rows]


def tf_rows() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(arrays())


def from_generator() -> tf.data.Dataset:
    def rows() -> Any:
        x, y = arrays()
        for index in np.random.permutation(ROWS):
            yield x[index], y[index]

    spec = (tf.TensorSpec((FEATURES,)), tf.TensorSpec((1,)))
    return tf.data.Dataset.from_generator(rows, output_signature=spec).batch(BATCH)


def captured_shuffle() -> dict[str, Any]:
    rows = tf_rows().take(40).shuffle(20, seed=6)
    return {"x": tf.data.Dataset.range(2).flat_map(lambda i: rows).batch(BATCH)}


def same_states(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The pipeline with an option without which TensorFlow does not save shuffles inside of an
    interleave.
    """
    options = tf.data.Options()
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    return dataset.with_options(options)


def data(kind: str) -> dict[str, Any]:
    """Arguments of `fit`."""
    x, y = arrays()
    known = tf_rows()
    kinds: dict[str, Any] = {
        "plain": lambda: {"x": known.batch(BATCH)},
        "shuffle_seeded": lambda: {"x": known.shuffle(50, seed=7).batch(BATCH)},
        "shuffle_global_seed": lambda: {"x": known.shuffle(50).batch(BATCH)},
        "shuffle_same": lambda: {
            "x": known.shuffle(50, seed=7, reshuffle_each_iteration=False).batch(BATCH)
        },
        "two_shuffles": lambda: {
            "x": known.shuffle(30, seed=7)
            .map(lambda a, b: (a * 1.5, b))
            .shuffle(20, seed=8)
            .batch(BATCH)
            .prefetch(2)
        },
        "cache": lambda: {
            "x": known.shuffle(30, seed=5).cache().shuffle(50, seed=7).batch(BATCH).prefetch(2)
        },
        "repeat_twice": lambda: {
            "x": known.shuffle(60, seed=7).shuffle(20, seed=3).repeat(2).batch(BATCH)
        },
        "partial_batch": lambda: {"x": known.take(ROWS - 3).shuffle(50, seed=7).batch(BATCH)},
        "unknown_length": lambda: {
            "x": known.shuffle(50, seed=7).filter(lambda a, b: a[0] > -1.0).batch(BATCH)
        },
        "repeat": lambda: {
            "x": known.shuffle(50, seed=7).repeat().batch(BATCH),
            "steps_per_epoch": 9,
        },
        "interleave": lambda: {
            "x": tf.data.Dataset.range(4)
            .interleave(
                lambda i: known.shard(4, i),
                cycle_length=2,
                num_parallel_calls=2,
                deterministic=True,
            )
            .shuffle(20, seed=1)
            .batch(BATCH)
        },
        "interleave_shuffled": lambda: {
            "x": same_states(
                tf.data.Dataset.range(4).interleave(
                    lambda i: known.shard(4, i).shuffle(12, seed=6), cycle_length=2, block_length=3
                )
            ).batch(BATCH)
        },
        "index_shuffled": lambda: {
            "x": ckptkit.data.shuffled((x, y), BATCH, seed=3),
            "steps_per_epoch": 11,
        },
        "random_map": lambda: {
            "x": known.shuffle(50, seed=7)
            .map(lambda a, b: (a + tf.random.normal((FEATURES,), seed=3), b))
            .batch(BATCH)
        },
        "from_generator": lambda: {"x": from_generator()},
        "py_function": lambda: {
            "x": known.shuffle(50, seed=7)
            .map(
                lambda a, b: (
                    tf.ensure_shape(
                        tf.numpy_function(lambda v: v + np.float32(1), [a], tf.float32), (FEATURES,)
                    ),
                    b,
                )
            )
            .batch(BATCH)
        },
        "numpy": lambda: {"x": x, "y": y, "batch_size": BATCH},
        "tensors": lambda: {"x": tf.constant(x), "y": tf.constant(y), "batch_size": BATCH},
        "class_weight": lambda: {
            "x": x,
            "y": (y > 0).astype("int32"),
            "batch_size": BATCH,
            "class_weight": {0: 1.0, 1: 3.0},
        },
        "sample_weight": lambda: {
            "x": x,
            "y": y,
            "batch_size": BATCH,
            "sample_weight": np.linspace(0, 1, ROWS),
        },
        "validation_split": lambda: {"x": x, "y": y, "batch_size": BATCH, "validation_split": 0.3},
        "py_dataset": lambda: {"x": Rows()},
        "py_dataset_workers": lambda: {"x": Rows(workers=2)},
        "concatenate": lambda: {
            "x": known.shuffle(50, seed=7)
            .concatenate(known.take(24).shuffle(20, seed=8))
            .batch(BATCH)
        },
        "batch_shuffle": lambda: {"x": x, "y": y, "batch_size": BATCH, "shuffle": "batch"},
        "captured_shuffle": captured_shuffle,
        "generator_own": lambda: {"x": endless(True), "steps_per_epoch": 9},
        "generator_global": lambda: {"x": endless(False), "steps_per_epoch": 9},
    }
    return kinds[kind]()


def validation() -> dict[str, Any]:
    return {
        "validation_data": tf_rows().shuffle(60, seed=4).take(40).shuffle(9, seed=2).batch(BATCH)
    }


# -- models


class Blocks(keras.Model):
    """Layers in a list, unbuilt at start."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
        ]
        self.head = keras.layers.Dense(1)

    def call(self, x: Any, training: bool = False) -> Any:
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(x)


class Gan(keras.Model):
    """Two networks, two optimizers, metrics of its own, nothing built before the first step."""

    def __init__(self) -> None:
        super().__init__()
        self.g = keras.Sequential(
            [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(FEATURES)]
        )
        self.d = keras.Sequential(
            [
                keras.layers.Dense(8, activation="relu"),
                keras.layers.Dropout(0.3),
                keras.layers.Dense(1),
            ]
        )
        self.noise = keras.random.SeedGenerator(9)
        self.g_loss = keras.metrics.Mean(name="g_loss")
        self.d_loss = keras.metrics.Mean(name="d_loss")

    def compile(self) -> None:
        super().compile()
        self.g_opt = keras.optimizers.Adam(1e-2)
        self.d_opt = keras.optimizers.Adam(2e-2)

    @property
    def metrics(self) -> list[Any]:
        return [self.g_loss, self.d_loss]

    def train_step(self, batch: Any) -> Any:
        real = batch[0]
        entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        with tf.GradientTape(persistent=True) as tape:
            fake = self.g(keras.random.normal((BATCH, 3), seed=self.noise), training=True)
            on_real, on_fake = self.d(real, training=True), self.d(fake, training=True)
            d_loss = entropy(tf.ones_like(on_real), on_real) + entropy(
                tf.zeros_like(on_fake), on_fake
            )
            g_loss = entropy(tf.ones_like(on_fake), on_fake)
        self.d_opt.apply(
            tape.gradient(d_loss, self.d.trainable_variables), self.d.trainable_variables
        )
        self.g_opt.apply(
            tape.gradient(g_loss, self.g.trainable_variables), self.g.trainable_variables
        )
        self.g_loss.update_state(g_loss)
        self.d_loss.update_state(d_loss)
        return {"g_loss": self.g_loss.result(), "d_loss": self.d_loss.result()}


def dense(**compile_options: Any) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.GaussianNoise(0.1),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        **{
            "optimizer": keras.optimizers.Adam(1e-2),
            "loss": "mse",
            "metrics": ["mae"],
            **compile_options,
        }
    )
    return model


def mixed() -> keras.Model:
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1, dtype="float32"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    return model


def global_seed() -> keras.Model:
    class Noisy(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x + 0.1 * keras.random.normal(tf.shape(x))

    model = keras.Sequential([keras.Input((FEATURES,)), Noisy(), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e-2, momentum=0.9), "mse")
    return model


def unbuilt() -> keras.Model:
    model = Blocks()
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    return model


def gan() -> keras.Model:
    model = Gan()
    model.compile()
    return model


def sequence(*layers: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((FEATURES,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model


def model(kind: str) -> keras.Model:
    kinds: dict[str, Any] = {
        "dense": dense,
        "steps_per_execution": lambda: dense(steps_per_execution=4),
        "jit": lambda: dense(jit_compile=True),
        "sgd": lambda: dense(optimizer=keras.optimizers.SGD(0.02, momentum=0.9)),
        "cosine": lambda: dense(
            optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 25))
        ),
        "ema": lambda: dense(
            optimizer=keras.optimizers.Adam(
                1e-2, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=7
            )
        ),
        "averages": lambda: dense(
            optimizer=keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9)
        ),
        "linear": lambda: sequence(),
        "synchronized": lambda: sequence(
            keras.layers.Dense(8), keras.layers.BatchNormalization(synchronized=True)
        ),
        "accumulation": lambda: dense(
            optimizer=keras.optimizers.Adam(1e-2, gradient_accumulation_steps=3)
        ),
        "loss_scale": lambda: dense(
            optimizer=keras.optimizers.LossScaleOptimizer(
                keras.optimizers.Adam(1e-2), dynamic_growth_steps=5
            )
        ),
        "mixed": mixed,
        "unbuilt": unbuilt,
        "gan": gan,
        "global_seed": global_seed,
        "rnn": lambda: sequence(
            keras.layers.Reshape((FEATURES, 1)),
            keras.layers.GRU(4, recurrent_dropout=0.3, dropout=0.2),
        ),
        "embedding": lambda: sequence(
            keras.layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0]),
            keras.layers.Embedding(5, 3),
            keras.layers.Flatten(),
        ),
    }
    return kinds[kind]()


def callbacks(kind: str) -> list[Any]:
    kinds: dict[str, Any] = {
        "none": list,
        "stopping": lambda: [
            keras.callbacks.ReduceLROnPlateau(
                monitor="loss", patience=1, min_delta=0.5, factor=0.5
            ),
            keras.callbacks.EarlyStopping(
                monitor="loss", patience=3, min_delta=0.5, restore_best_weights=True
            ),
        ],
        "swap_ema": lambda: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
        "weights": lambda: [ChangesWeights()],
        "scheduler": lambda: [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7)
        ],
        "csv": lambda: [keras.callbacks.CSVLogger("log.csv")],
        "csv_append": lambda: [keras.callbacks.CSVLogger("log.csv", append=True, separator=";")],
        "tensorboard": lambda: [keras.callbacks.TensorBoard("logs", update_freq="batch")],
        "best": lambda: [
            keras.callbacks.ModelCheckpoint(
                "best.weights.h5", monitor="val_mae", save_best_only=True, save_weights_only=True
            )
        ],
        "best_weights": lambda: [
            keras.callbacks.EarlyStopping(monitor="val_mae", patience=4, restore_best_weights=True)
        ],
        "own": lambda: [OwnState(), OwnDict(), Plain(), lambda_callback()],
    }
    return kinds[kind]()


class ChangesWeights(keras.callbacks.Callback):
    """Changes the model at each beginning, each time by as much."""

    def _change(self) -> None:
        for weight in self.model.trainable_weights:
            weight.assign(weight * 0.99)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._change()

    def on_test_begin(self, logs: Any = None) -> None:
        self._change()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._change()


class Counter(keras.callbacks.Callback):
    """Counts batches, and gathers the losses of epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.batches, self.losses = 0, np.zeros(0)
        self.every = 4  # configured, not learned
        self.kept: dict[str, Any] = {"rates": [], "last": None, ("a", "b"): {1, 2}}
        self.lock = threading.Lock()  # nothing that could be saved

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        self.kept["last"] = (batch, float(logs["loss"]))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.losses = np.append(self.losses, logs["loss"])
        self.kept["rates"].append(float(self.model.optimizer.learning_rate))

    def seen(self) -> list[Any]:
        return [
            self.batches,
            [value.hex() for value in self.losses.tolist()],
            self.kept["rates"],
            self.kept["last"],
            self.every,
        ]


class Plain(Counter):
    """Says nothing of its state."""


class OwnState(Counter):
    """Gives its state, and takes it, under its own names; an attribute of its own stays as the code
    says.
    """

    def get_state(self) -> dict[str, Any]:
        return {"counted": self.batches, "values": self.losses, "kept": self.kept}

    def set_state(self, state: dict[str, Any]) -> None:
        self.batches, self.losses, self.kept = state["counted"], state["values"], state["kept"]


class OwnDict(Counter):
    """The same by PyTorch's names."""

    def state_dict(self) -> dict[str, Any]:
        return {"counted": self.batches, "values": self.losses, "kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.batches, self.losses, self.kept = state["counted"], state["values"], state["kept"]


def lambda_callback() -> Any:
    """Writes down what it is told; functions are no state."""
    lines = Path("lambda.jsonl").open("a", buffering=1)  # noqa: SIM115
    return keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: lines.write(json.dumps(["begin", epoch]) + "\n"),
        on_epoch_end=lambda epoch, logs: lines.write(
            json.dumps(["end", epoch, float(logs["loss"]).hex()]) + "\n"
        ),
        on_train_begin=lambda logs: lines.write(json.dumps(["train"]) + "\n"),
        on_train_end=lambda logs: lines.write(json.dumps(["over"]) + "\n"),
    )


def beside(used: list[Any]) -> dict[str, Any]:
    """What the other callbacks have at the end."""
    found: dict[str, Any] = {}
    for callback in used:
        name = type(callback).__name__
        if isinstance(callback, Counter):
            found[name] = callback.seen()
        elif isinstance(callback, keras.callbacks.ModelCheckpoint):
            with h5py.File("best.weights.h5") as file:
                values: list[bytes] = []
                file.visititems(
                    lambda _, item, kept=values: (
                        kept.append(item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
                    )
                )
            found[name] = [float(callback.best).hex(), hashlib.sha256(b"".join(values)).hexdigest()]
        elif isinstance(callback, keras.callbacks.CSVLogger):
            found[name] = Path("log.csv").read_text()
        elif isinstance(callback, keras.callbacks.EarlyStopping):
            found[name] = [
                float(callback.best).hex(),
                callback.best_epoch,
                callback.stopped_epoch,
                callback.wait,
            ]
        elif isinstance(callback, keras.callbacks.ReduceLROnPlateau):
            found[name] = [float(callback.best).hex(), callback.wait, callback.cooldown_counter]
        elif isinstance(callback, keras.callbacks.TensorBoard):
            found[name] = callback._global_train_batch
    return found


# -- what happens


class Recorder(keras.callbacks.Callback):
    """Writes down every event that it sees, and dies where it is told to."""

    def __init__(self, file: Path, die: dict[str, Any]) -> None:
        super().__init__()
        self.file = file.open("a")
        self.die = die
        self.seen = 0
        if "secs" in die:
            threading.Timer(die["secs"], self.end).start()

    def write(self, *record: Any) -> None:
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        time.sleep(self.die.get("pause_secs", 0))
        self.write("epoch_begin", epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.write(
            "batch",
            self.epoch,
            batch,
            {name: float(value).hex() for name, value in sorted(logs.items())},
        )
        self.seen += 1
        last = (
            self.params["steps"] is not None
            and batch == self.params["steps"] - 1
            and self.die.get("last") == self.epoch
        )
        if (
            last
            or self.die.get("batch") == [self.epoch, batch]
            or self.die.get("after") == self.seen
        ):
            self.end()

    def on_test_begin(self, logs: Any = None) -> None:
        if self.params["steps"] is None and self.die.get("last") == self.epoch:
            self.end()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.die.get("evaluation") == [self.epoch, batch]:
            self.end()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.write(
            "epoch_end", epoch, {name: float(value).hex() for name, value in sorted(logs.items())}
        )

    def end(self) -> None:
        os.kill(os.getpid(), getattr(signal, self.die.get("signal", "SIGKILL")))

    def get_state(self) -> None:
        return None

    def set_state(self, state: None) -> None:
        return None


def digest(model: keras.Model) -> str:
    """SHA-256 over everything that training has changed."""
    variables = [*model.variables, *model.metrics_variables]
    for optimizer in (getattr(model, name, None) for name in ("optimizer", "g_opt", "d_opt")):
        variables += (
            optimizer.variables if isinstance(optimizer, keras.optimizers.Optimizer) else []
        )
    sha = hashlib.sha256()
    for variable in variables:
        for component in components(variable):
            sha.update(np.asarray(component).tobytes())
    return sha.hexdigest()


def components(variable: Any) -> list[Any]:
    """The values of all replicas of a variable."""
    raw = variable.value if isinstance(variable, keras.Variable) else variable
    if not isinstance(raw, tf.distribute.DistributedValues):
        return [raw]
    return list(raw.distribute_strategy.experimental_local_results(raw))


def save_policy(text: str) -> Any:
    if text.endswith("s"):
        return ckptkit.EveryNSeconds(float(text[:-1]))
    return ckptkit.EveryNSteps(int(text)) if text.isdecimal() else ckptkit.EveryNEpochs(1)


def main(options: dict[str, Any], scope: Any = nullcontext, shape: Any = None) -> None:
    """Train.

    Args:
        options: what to train, and how it dies.
        scope: returns the context in which the model is made.
        shape: changes the arguments of `fit`.
    """
    keras.utils.set_random_seed(11)
    for _ in range(options.get("layers_before", 0)):
        keras.layers.Dense(
            1, kernel_initializer="zeros"
        )  # another counter of automatic names, and nothing drawn
    with scope():
        net = model(options.get("model", "dense"))
    arguments = data(options.get("data", "shuffle_seeded"))
    if options.get("validation", True) and "validation_split" not in arguments:
        arguments.update(validation())
    if options.get("validation") == "plain":
        arguments["validation_data"] = tf_rows().take(40).batch(BATCH)
    if options.get("model") == "gan":
        arguments.pop("validation_data", None)
    if shape is not None:
        arguments = shape(arguments)
    recorder = Recorder(Path("events.jsonl"), options.get("die", {}))
    used = [*callbacks(options.get("callbacks", "none")), recorder]
    if options.get("run"):
        keep = ckptkit.KeepEveryNSteps(1) if options.get("keep") == "all" else None
        ours = ckptkit.CheckpointCallback(
            options["run"],
            save=save_policy(str(options.get("save", "1"))),
            keep=keep,
            export=False,
            exact=options.get("exact", "warn"),
            anchors=anchors_of(options),
            background=options.get("keep") != "all" and options.get("background", True),
        )
        used.insert(options.get("place", 0) % (len(used) + 1), ours)
    history = net.fit(**arguments, epochs=options.get("epochs", 3), verbose=0, callbacks=used)
    Path("result.json").write_text(
        json.dumps(
            {
                "digest": digest(net),
                "epochs": history.epoch,
                "beside": beside(used),
                "history": {
                    name: [float(value).hex() for value in values]
                    for name, values in sorted(history.history.items())
                },
            }
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
