"""Small examples of each kind of state that people train.

For each, what it consists of is known without asking ckptkit.
"""

from __future__ import annotations

import functools
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

Random = np.random.Generator


@dataclass
class Kind:
    """One kind of state.

    Args:
        state: for `CheckpointManager`.
        train: one step of training on fresh random data.
        variables: every variable there is, by lists that do not come from ckptkit.
        others: values that are no variables, in a form that can be compared.
        ready: makes what training makes, without training: for the process that restores.
    """

    state: dict[str, Any]
    train: Callable[[Random], object]
    variables: Callable[[], list[Any]]
    others: Callable[[], object] = lambda: None
    ready: Callable[[Random], object] = field(default=lambda rng: None)


KINDS: dict[str, Callable[[], Kind]] = {}


def kind(builder: Callable[[], Kind]) -> Callable[[], Kind]:
    KINDS[builder.__name__] = builder
    return builder


def numbers(rng: Random, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype("float32")


def compiled(
    model: keras.Model, x: Callable[[Random], Any], y: Callable[[Random], Any], **options: Any
) -> Kind:
    """A model that Keras trains by itself."""
    model.compile(
        **{
            "optimizer": keras.optimizers.Adam(0.01),
            "loss": "mse",
            "metrics": ["mae"],
            "jit_compile": False,
            **options,
        }
    )
    return Kind(
        {"model": model},
        train=lambda rng: model.train_on_batch(x(rng), y(rng)),
        ready=lambda rng: model.test_on_batch(x(rng), y(rng)),
        variables=lambda: [*model.variables, *model.optimizer.variables, *model.metrics_variables],
    )


def loop(
    state: dict[str, Any],
    model: Any,
    optimizer: Any,
    x: Callable[[Random], Any],
    *,
    more: Callable[[], list[Any]] = list,
    **options: Any,
) -> Kind:
    """A model in a loop of the user's own."""

    def train(rng: Random) -> None:
        batch = x(rng)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(model(batch, training=True), tf.float32) - 1.0))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    return Kind(state, train, lambda: [*model.variables, *optimizer.variables, *more()], **options)


def four(rng: Random) -> np.ndarray:
    return numbers(rng, 8, 4)


def one(rng: Random) -> np.ndarray:
    return numbers(rng, 8, 1)


# -- what Keras builds


@kind
def sequential() -> Kind:
    return compiled(
        keras.Sequential(
            [keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(8, "relu"), layers.Dense(1)]
        ),
        four,
        one,
    )


@kind
def functional_with_two_inputs_and_outputs() -> Kind:
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    both = layers.Concatenate()([layers.Dense(6)(a), layers.Dense(6)(b)])
    model = keras.Model(
        {"a": a, "b": b},
        {"p": layers.Dense(1, name="p")(both), "q": layers.Dense(2, name="q")(both)},
    )
    return compiled(
        model,
        lambda rng: {"a": numbers(rng, 8, 4), "b": numbers(rng, 8, 3)},
        lambda rng: {"p": numbers(rng, 8, 1), "q": numbers(rng, 8, 2)},
        loss={"p": "mse", "q": "mae"},
        metrics={"p": ["mae"], "q": ["mse", "mae"]},
        loss_weights={"p": 1.0, "q": 0.3},
    )


class Blocks(keras.Model):
    """Layers where plain TensorFlow does not look for them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [
            [layers.Dense(4), layers.BatchNormalization()],
            [layers.Dense(4), layers.Dropout(0.3)],
        ]
        self.heads = {"one": layers.Dense(1), "two": {"inner": layers.Dense(1, use_bias=False)}}
        self.pair = (layers.LayerNormalization(), layers.GaussianNoise(0.1))

    def call(self, x: Any, training: bool = False) -> Any:
        for block in (*self.blocks, self.pair):
            for layer in block:
                x = (
                    layer(x, training=training)
                    if isinstance(layer, layers.BatchNormalization | layers.Dropout)
                    else layer(x)
                )
        return self.heads["one"](x) + self.heads["two"]["inner"](x)


@kind
def subclassed_with_lists_and_dicts_of_layers() -> Kind:
    model = Blocks()
    model(np.zeros((1, 4), "float32"))
    return compiled(model, four, one)


@kind
def nested_models() -> Kind:
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.BatchNormalization()], name="inner"
    )
    middle = keras.Sequential([keras.Input((4,)), inner, layers.Dense(4, "tanh")], name="middle")
    return compiled(
        keras.Sequential([keras.Input((4,)), middle, layers.Dropout(0.2), layers.Dense(1)]),
        four,
        one,
    )


@kind
def shared_layers() -> Kind:
    a, b = keras.Input((4,)), keras.Input((4,))
    tower = keras.Sequential([layers.Dense(4, "tanh"), layers.BatchNormalization()])
    dense = layers.Dense(4)
    out = layers.Dot(1)([dense(tower(a)), dense(tower(b))])
    return compiled(keras.Model([a, b], out), lambda rng: [four(rng), four(rng)], one)


@keras.saving.register_keras_serializable("tests")
class Scale(layers.Layer):
    """Weights of its own: trained, not trained, counting."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="scale")
        self.largest = self.add_weight(
            shape=(shape[-1],), initializer="zeros", trainable=False, name="largest"
        )
        self.calls = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="calls"
        )
        self.flags = [
            self.add_weight(
                shape=(2,), initializer="zeros", dtype="bool", trainable=False, name=f"flag{i}"
            )
            for i in range(2)
        ]

    def call(self, x: Any) -> Any:
        self.calls.assign(self.calls + 1)
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(x, axis=0)))
        return x * self.scale


@kind
def custom_layer() -> Kind:
    return compiled(
        keras.Sequential([keras.Input((4,)), Scale(), layers.Dense(4), Scale(), layers.Dense(1)]),
        four,
        one,
    )


@kind
def batch_normalization_and_dropout() -> Kind:
    stack: list[Any] = [keras.Input((6, 6, 2))]
    for _ in range(2):
        stack += [
            layers.Conv2D(3, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.7),
            layers.ReLU(),
            layers.SpatialDropout2D(0.2),
        ]
    stack += [
        layers.RandomFlip(),
        layers.RandomTranslation(0.1, 0.1),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(1),
    ]
    return compiled(keras.Sequential(stack), lambda rng: numbers(rng, 8, 6, 6, 2), one)


@kind
def recurrent_dropout() -> Kind:
    stateful = layers.LSTM(4, return_sequences=True, stateful=True)
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(8, 5, 3)),
            stateful,
            layers.Bidirectional(layers.GRU(4, dropout=0.1, recurrent_dropout=0.4)),
            layers.Dense(1),
        ]
    )
    made = compiled(model, lambda rng: numbers(rng, 8, 5, 3), one)
    variables = made.variables
    made.variables = lambda: [*variables(), *stateful.states]  # Keras does not list them
    return made


@kind
def embedding_with_sparse_gradients() -> Kind:
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(50, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.Adagrad(0.1)
    return loop(
        {"model": model, "optimizer": optimizer},
        model,
        optimizer,
        lambda rng: rng.integers(0, 50, (8, 5)).astype("int32"),
    )


@kind
def mixed_precision_with_a_loss_scale() -> Kind:
    def dense(units: int) -> layers.Dense:
        return layers.Dense(units, dtype="mixed_float16")

    model = keras.Sequential(
        [keras.Input((4,)), dense(8), layers.BatchNormalization(dtype="mixed_float16"), dense(1)]
    )
    # The scale is raised within the first steps, so that it is not what it is at the start.
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.01), initial_scale=8.0, dynamic_growth_steps=2
    )
    return compiled(model, four, one, optimizer=optimizer)


@kind
def average_of_weights() -> Kind:
    optimizer = keras.optimizers.SGD(
        0.01, momentum=0.9, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=None
    )
    return compiled(
        keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(1)]),
        four,
        one,
        optimizer=optimizer,
    )


@kind
def gradient_accumulation() -> Kind:
    # Three steps are trained before the save, so that the accumulators are in use then.
    optimizer = keras.optimizers.AdamW(0.01, gradient_accumulation_steps=2)
    return compiled(
        keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(1)]),
        four,
        one,
        optimizer=optimizer,
    )


@kind
def compiled_metrics() -> Kind:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax")])
    return compiled(
        model,
        four,
        lambda rng: rng.integers(0, 3, 8),
        loss="sparse_categorical_crossentropy",
        metrics=[
            "accuracy",
            keras.metrics.SparseTopKCategoricalAccuracy(2),
            keras.metrics.SparseCategoricalCrossentropy(),
        ],
        weighted_metrics=["accuracy"],
    )


class Tracking(keras.Model):
    """A training step of its own, with metrics as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)
        self.mean_loss = keras.metrics.Mean(name="mean_loss")
        self.others = [keras.metrics.MeanSquaredError(), keras.metrics.RootMeanSquaredError()]
        self.build((None, 4))

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, data: Any) -> Any:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            out = self(x, training=True)
            loss = tf.reduce_mean(tf.square(out - y))
        self.optimizer.apply(
            tape.gradient(loss, self.trainable_variables), self.trainable_variables
        )
        self.mean_loss.update_state(loss)
        for metric in self.others:
            metric.update_state(y, out)
        return {"mean_loss": self.mean_loss.result()}

    def test_step(self, data: Any) -> Any:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        for metric in self.others:
            metric.update_state(y, self(x))
        return {}


@kind
def metrics_as_attributes() -> Kind:
    return compiled(Tracking(), four, one, loss=None, metrics=None)


@kind
def wrappers_and_attention() -> Kind:
    inputs = keras.Input((5, 4))
    x = layers.TimeDistributed(layers.SpectralNormalization(layers.Dense(4)))(inputs)
    x = layers.MultiHeadAttention(2, 2, dropout=0.2)(x, x)
    dense = layers.Dense(4)
    x = layers.GlobalAveragePooling1D()(dense(x))
    model = keras.Model(inputs, layers.Dense(1)(x))
    dense.enable_lora(2)
    model.layers[-1].trainable = False
    return compiled(model, lambda rng: numbers(rng, 8, 5, 4), one)


@kind
def adapted_preprocessing() -> Kind:
    normalization = layers.Normalization()
    model = keras.Sequential([keras.Input((4,)), normalization, layers.Dense(1)])
    made = compiled(model, four, one)
    train = made.train

    def adapt_and_train(rng: Random) -> None:
        if model.optimizer.iterations == 0:
            normalization.adapt(numbers(rng, 32, 4) * 3 + 5)
        train(rng)

    made.train = adapt_and_train
    # The layer does not use its variables but constants that it has computed from them, and
    # functions that were traced before a
    # restore would go on with those of then.
    made.others = lambda: [
        np.asarray(out).tobytes().hex()
        for out in (
            model(np.ones((1, 4), "float32")),
            model.predict(np.ones((1, 4)), verbose=0),
            model.test_on_batch(np.ones((1, 4)), np.ones((1, 1))),
        )
    ]
    return made


class Gan(keras.Model):
    """As in Keras' own examples: a frame around two models that is never called itself, with
    optimizers that Keras does not know of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.Sequential(
            [keras.Input((3,)), layers.Dense(4), layers.BatchNormalization()]
        )
        self.discriminator = keras.Sequential(
            [keras.Input((4,)), layers.Dense(4), layers.Dropout(0.3), layers.Dense(1)]
        )
        self.g_loss = keras.metrics.Mean(name="g_loss")
        self.seeds = keras.random.SeedGenerator()

    def compile(self, g_opt: Any, d_opt: Any) -> None:
        super().compile(jit_compile=False)
        self.opts = {"g": g_opt, "d": d_opt}
        g_opt.build(self.generator.trainable_variables)
        d_opt.build(self.discriminator.trainable_variables)

    def train_step(self, data: Any) -> Any:
        real = keras.utils.unpack_x_y_sample_weight(data)[0]
        with tf.GradientTape(persistent=True) as tape:
            fake = self.discriminator(
                self.generator(keras.random.normal((8, 3), seed=self.seeds), training=True),
                training=True,
            )
            g_loss = tf.reduce_mean(tf.square(fake - 1.0))
            d_loss = tf.reduce_mean(tf.square(fake)) + tf.reduce_mean(
                tf.square(self.discriminator(real, training=True) - 1.0)
            )
        self.opts["g"].apply(tape.gradient(g_loss, self.generator.trainable_variables))
        self.opts["d"].apply(tape.gradient(d_loss, self.discriminator.trainable_variables))
        self.g_loss.update_state(g_loss)
        return {"g_loss": self.g_loss.result()}


@kind
def frame_that_is_never_called() -> Kind:
    gan = Gan()
    gan.compile(keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.01))
    return Kind(
        {"gan": gan},
        lambda rng: gan.train_on_batch(four(rng)),
        lambda: [
            *gan.variables,
            *gan.metrics_variables,
            *gan.opts["g"].variables,
            *gan.opts["d"].variables,
            *gan.optimizer.variables,
        ],
    )  # Keras makes one, though nobody has asked for it


# -- several things


@kind
def two_optimizers() -> Kind:
    generator = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4, "relu"), layers.Dropout(0.2), layers.Dense(4)]
    )
    discriminator = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, "relu"), layers.Dropout(0.2), layers.Dense(1)]
    )
    g_opt, d_opt = keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.01, momentum=0.5)
    g_opt.build(generator.trainable_variables)
    d_opt.build(discriminator.trainable_variables)
    bce = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(noise: Any, real: Any) -> None:
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            fake = discriminator(generator(noise, training=True), training=True)
            true = discriminator(real, training=True)
            g_loss = bce(tf.ones_like(fake), fake)
            d_loss = bce(tf.zeros_like(fake), fake) + bce(tf.ones_like(true), true)
        g_opt.apply(g_tape.gradient(g_loss, generator.trainable_variables))
        d_opt.apply(d_tape.gradient(d_loss, discriminator.trainable_variables))

    return Kind(
        {"generator": generator, "discriminator": discriminator, "g_opt": g_opt, "d_opt": d_opt},
        lambda rng: step(numbers(rng, 8, 3), four(rng)),
        lambda: [
            *generator.variables,
            *discriminator.variables,
            *g_opt.variables,
            *d_opt.variables,
        ],
    )


@kind
def every_optimizer() -> Kind:
    names = (
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "Adam",
        "Adamax",
        "AdamW",
        "Ftrl",
        "Lamb",
        "Lion",
        "Nadam",
        "RMSprop",
        "SGD",
    )
    options: dict[str, dict[str, Any]] = {
        "Adam": {"amsgrad": True},
        "RMSprop": {"centered": True, "momentum": 0.9},
        "SGD": {"nesterov": True, "momentum": 0.9},
    }
    optimizers = [getattr(keras.optimizers, name)(0.01, **options.get(name, {})) for name in names]
    models = [keras.Sequential([keras.Input((4,)), layers.Dense(1)]) for _ in names]
    for model, optimizer in zip(models, optimizers, strict=True):
        optimizer.build(model.trainable_variables)

    def train(rng: Random) -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.apply(
                [
                    tf.constant(numbers(rng, *variable.shape))
                    for variable in model.trainable_variables
                ]
            )

    return Kind(
        {"models": models, "optimizers": dict(zip(names, optimizers, strict=True))},
        train,
        lambda: [variable for thing in (*models, *optimizers) for variable in thing.variables],
    )


class Module(tf.Module):
    """Without Keras."""

    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(tf.random.normal((4, 4)))
        self.parts = [tf.Variable(tf.random.normal((4,))), {"b": tf.Variable(0, dtype=tf.int64)}]
        self.inner = tf.Module()
        self.inner.v = tf.Variable(tf.random.normal((2,)), trainable=False)
        self.inner.again = self.w
        self.generator = tf.random.Generator.from_non_deterministic_state()
        self.optimizer = keras.optimizers.Adam(0.01)
        self.optimizer.build([self.w])
        # Names that objects of Keras, TensorFlow and ckptkit use for something else.
        self.leaves = [tf.Variable(0.0)]
        self.history, self.save_counter, self._kwargs = (
            tf.Variable(0.0),
            tf.Variable(0.0),
            [tf.Variable(0.0)],
        )


@kind
def tf_module() -> Kind:
    module = Module()

    def train(rng: Random) -> None:
        module.optimizer.apply([tf.constant(numbers(rng, 4, 4))])
        module.parts[0].assign_add(module.generator.normal((4,)))
        module.parts[1]["b"].assign_add(1)
        for variable in (
            module.inner.v,
            module.history,
            module.save_counter,
            module._kwargs[0],
            module.leaves[0],
        ):
            variable.assign(numbers(rng, *variable.shape))

    return Kind(
        {"module": module},
        train,
        lambda: [*module.variables, module.generator.state, *module.optimizer.variables],
    )


@kind
def train_checkpoint() -> Kind:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4),
            layers.Dropout(0.5),
            layers.BatchNormalization(),
            layers.Dense(1),
        ]
    )
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    counter = tf.Variable(0)
    # Its own counter of saves is made here, where it is otherwise made at its first save.
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, counter=counter)
    made = loop({"all": checkpoint}, model, optimizer, four, more=lambda: [counter])
    train = made.train
    made.train = lambda rng: (train(rng), counter.assign_add(1))
    return made


@kind
def lists_and_dicts_in_state() -> Kind:
    models = [
        keras.Sequential([keras.Input((4,)), layers.Dense(1), layers.Dropout(0.1)])
        for _ in range(2)
    ]
    variables = {
        "a": [tf.Variable(0.0), {"b": tf.Variable([1.0, 2.0])}],
        "g": tf.random.Generator.from_non_deterministic_state(),
        "seeds": keras.random.SeedGenerator(),
    }

    def train(rng: Random) -> None:
        for model in models:
            model(four(rng), training=True)
            for variable in model.trainable_variables:
                variable.assign_add(numbers(rng, *variable.shape))
        variables["a"][0].assign_add(1.0)
        variables["a"][1]["b"].assign(variables["g"].normal((2,)))
        variables["seeds"].next()

    return Kind(
        {"models": models, "more": variables},
        train,
        lambda: [
            *models[0].variables,
            *models[1].variables,
            variables["a"][0],
            variables["a"][1]["b"],
            variables["g"].state,
            variables["seeds"].state,
        ],
    )


DTYPES = (
    "bfloat16",
    "bool",
    "complex128",
    "complex64",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "string",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
)


@kind
def variables_of_every_type_and_shape() -> Kind:
    shapes = {"scalar": (), "empty": (0, 3), "deep": (1, 2, 1, 2, 1, 2)}
    made: dict[str, Any] = {f"of_{dtype}": tf.Variable(tf.zeros((3,), dtype)) for dtype in DTYPES}
    made |= {name: tf.Variable(tf.zeros(shape)) for name, shape in shapes.items()}
    made["growing"] = tf.Variable(tf.zeros((1, 2)), shape=(None, 2))
    made["any"] = tf.Variable(tf.zeros(()), shape=tf.TensorShape(None))
    made["special"] = tf.Variable(tf.zeros((5,)))
    made["keras_variable"] = keras.Variable(np.zeros((2,), "float32"))

    def train(rng: Random) -> None:
        for dtype in DTYPES:
            if dtype == "string":
                made["of_string"].assign([rng.bytes(5), b"", "é".encode()])
            else:
                made[f"of_{dtype}"].assign(tf.cast(tf.constant(rng.integers(0, 100, 3)), dtype))
        made["scalar"].assign(float(rng.normal()))
        made["deep"].assign(numbers(rng, *shapes["deep"]))
        made["growing"].assign(tf.concat([made["growing"], tf.constant(numbers(rng, 1, 2))], 0))
        made["any"].assign(numbers(rng, 2, 3))
        # Another pattern of bits for the same NaN; both zeros; a denormal number.
        special = np.array([0x7FC00001, 0xFFC00000, 0x80000000, 0x00000001, 0xFF800000], "uint32")
        made["special"].assign(special.view("float32"))
        made["keras_variable"].assign(numbers(rng, 2))

    return Kind(made, train, lambda: list(made.values()))


# -- where nobody looks


class Hidden(layers.Layer):
    """State that neither Keras nor TensorFlow lists."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(4)
        self.raw = tf.Variable([0.0, 0.0])
        self.history = tf.Variable(0.0)
        self.generator = tf.random.Generator.from_non_deterministic_state()
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self.dense_table = tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.float32, 0.0, empty_key=-1, deleted_key=-2
        )

    def call(self, x: Any) -> Any:
        return self.dense(x)


def contents(table: Any) -> list[Any]:
    keys, values = (tensor.numpy().reshape(-1).tolist() for tensor in table.export())
    return sorted([str(key), float(value)] for key, value in zip(keys, values, strict=True))


@kind
def raw_variables_and_tables_in_a_layer() -> Kind:
    hidden = Hidden()
    model = keras.Sequential([keras.Input((4,)), hidden, layers.Dense(1)])
    made = compiled(model, four, one)
    train, variables = made.train, made.variables

    def train_more(rng: Random) -> None:
        train(rng)
        hidden.raw.assign(hidden.generator.normal((2,)))
        hidden.history.assign_add(1.0)
        hidden.table.insert([str(rng.integers(1000))], [int(rng.integers(1000))])
        hidden.dense_table.insert([int(rng.integers(1000))], [float(rng.integers(1000))])

    made.train = train_more
    made.variables = lambda: [*variables(), hidden.raw, hidden.history, hidden.generator.state]
    made.others = lambda: [
        contents(hidden.table),
        [item for item in contents(hidden.dense_table) if int(item[0]) >= 0],
    ]
    return made


class Holder:
    """A class of the user's own."""

    def __init__(self, more: Any = None) -> None:
        self.dense = layers.Dense(4)
        self.extra = tf.Variable(0.0)
        self.more = more


class Slotted:
    __slots__ = ("extra", "unset")

    def __init__(self) -> None:
        self.extra = tf.Variable(0.0)


class Using(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.holder = Holder(more=[Holder({"deep": Slotted()})])
        self.unordered = Holder({layers.Dense(1) for _ in range(3)})
        for layer in self.unordered.more:
            layer.build((None, 2))
        self.held = (
            SimpleNamespace(extra=tf.Variable(0.0)),
            deque([tf.Variable(0.0)]),
            OrderedDict(extra=tf.Variable(0.0)),
            functools.partial(max, tf.Variable(0.0)),
        )

    def call(self, x: Any) -> Any:
        return self.holder.more[0].dense(self.holder.dense(x))

    def extras(self) -> list[tf.Variable]:
        inner = self.holder.more[0]
        return [
            self.holder.extra,
            inner.extra,
            inner.more["deep"].extra,
            self.held[0].extra,
            self.held[1][0],
            self.held[2]["extra"],
            self.held[3].args[0],
        ]


@kind
def users_own_classes() -> Kind:
    model = Using()
    model(np.zeros((1, 4), "float32"))

    def variables() -> list[Any]:
        found = [
            *model.holder.dense.variables,
            *model.holder.more[0].dense.variables,
            *model.extras(),
            model.unordered.extra,
        ]
        # In the order in which they were made, which is the order of their numbers.
        for layer in sorted(
            model.unordered.more, key=lambda layer: int(layer.name.partition("_")[2] or 0)
        ):
            found += layer.variables
        return [
            *found,
            *(
                variable
                for variable in model.variables
                if all(variable is not other for other in found)
            ),
        ]

    def train(rng: Random) -> None:
        model(four(rng), training=True)
        for variable in variables():
            variable.assign(numbers(rng, *variable.shape))

    return Kind({"model": model}, train, variables)


class Loaded(keras.Model):
    """A part that was published as a SavedModel, and is called."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.part = part
        self.dense = layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.dense(self.part(x))


class Part(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(tf.random.normal((4, 4)))

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def __call__(self, x: Any) -> Any:
        return x @ self.w


@kind
def part_from_a_saved_model() -> Kind:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(Part(), directory)
        part = tf.saved_model.load(directory)
    model = Loaded(part)
    model(np.zeros((1, 4), "float32"))

    def train(rng: Random) -> None:
        for variable in (part.w, *model.dense.variables):
            variable.assign(numbers(rng, *variable.shape))

    return Kind({"model": model}, train, lambda: [*model.dense.variables, part.w])
