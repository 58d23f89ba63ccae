"""Everything that can be exported, each with what the live model gives; runs in a process that has
TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ckptkit
from ckptkit.export.publishing import _traced
from ckptkit.export.signatures import DataForm
from ckptkit.exports.export_record import read_export
from tests.support import checkers

Rng = np.random.Generator
Exported = tuple[Any, dict[str, Any], dict[str, dict[str, Any]], dict[str, dict[str, Any]]]
"""What is exported; options; and by signature the inputs, and the outputs of the live model."""

KINDS: dict[str, Callable[[Rng], Exported]] = {}


def kind(function: Callable[[Rng], Exported]) -> Callable[[Rng], Exported]:
    KINDS[function.__name__] = function
    return function


def floats(rng: Rng, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype("float32")


@kind
def sequential(rng: Rng) -> Exported:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )
    model.compile("adam", "mse")
    model.fit(floats(rng, 16, 4), floats(rng, 16, 2), verbose=0)
    x = floats(rng, 7, 4)
    return (
        model,
        {},
        {name: {"inputs": x} for name in ("serve", "serving_default")},
        {name: {"output_0": model.predict(x, verbose=0)} for name in ("serve", "serving_default")},
    )


@kind
def functional(rng: Rng) -> Exported:
    """Many inputs and outputs; one input has no name, and another was made before it."""
    keras.Input((1,))
    left, right, plain = (
        keras.Input((3,), name="left"),
        keras.Input((2,), name="right"),
        keras.Input((1,)),
    )
    both = layers.Concatenate()([left, right, plain])
    model = keras.Model([left, right, plain], {"total": layers.Dense(1)(both), "all": both})
    inputs = {"left": floats(rng, 3, 3), "right": floats(rng, 3, 2), "inputs_2": floats(rng, 3, 1)}
    out = model(list(inputs.values()), training=False)
    return (
        model,
        {},
        {"serving_default": inputs},
        {"serving_default": {name: value.numpy() for name, value in out.items()}},
    )


@kind
def dictionary_in(rng: Rng) -> Exported:
    b, a = keras.Input((2,), name="b"), keras.Input((2,), name="a")
    model = keras.Model({"b": b, "a": a}, [layers.Dense(1)(b), layers.Subtract()([a, b])])
    inputs = {"a": floats(rng, 2, 2), "b": floats(rng, 2, 2)}
    out = model(inputs)
    return (
        model,
        {"sample": inputs},
        {"serving_default": inputs},
        {"serving_default": {f"output_{i}": each.numpy() for i, each in enumerate(out)}},
    )


class Blocks(keras.Model):
    """Layers in a list, and one of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [Scaled(4), layers.LayerNormalization(), Scaled(2)]

    def call(self, words: Any, training: bool = False) -> Any:
        for block in self.blocks:
            words = block(words)
        return {"last": words, "pair": (words, words * 2)}


class Scaled(layers.Layer):
    """A layer without `get_config`."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(shape[-1], self.units), initializer="random_normal")

    def call(self, x: Any) -> Any:
        return tf.nn.tanh(x @ self.w) * 3


@kind
def subclassed(rng: Rng) -> Exported:
    """Compiled, but never built: the sample builds it."""
    model = Blocks()
    model.compile("adam", "mse")
    x = floats(rng, 5, 6)
    options = {"sample": floats(rng, 2, 6)}
    model(options["sample"])
    out = model(x, training=False)
    return (
        model,
        options,
        {"serve": {"words": x}},
        {
            "serve": {
                "last": out["last"].numpy(),
                "pair_0": out["pair"][0].numpy(),
                "pair_1": out["pair"][1].numpy(),
            }
        },
    )


@kind
def preprocessing(rng: Rng) -> Exported:
    """Tables and adapted layers: text in, no table to be told of."""
    words = layers.TextVectorization(max_tokens=20, output_sequence_length=4)
    words.adapt(["the cat sat", "the dog ran", "a bird"])
    lookup = layers.StringLookup(vocabulary=["red", "green"])
    scaled = layers.Normalization()
    scaled.adapt(floats(rng, 50, 2))
    text, colour, size = (
        keras.Input((), dtype="string", name="text"),
        keras.Input((), dtype="string", name="colour"),
        keras.Input((2,), name="size"),
    )
    vectors = layers.GlobalAveragePooling1D()(layers.Embedding(20, 3)(words(text)))
    out = layers.Dense(2)(
        layers.Concatenate()(
            [vectors, scaled(size), layers.CategoryEncoding(3, "one_hot")(lookup(colour))]
        )
    )
    model = keras.Model([text, colour, size], out)
    inputs = {
        "text": np.array([b"the cat", b"a dog sat"]),
        "colour": np.array([b"green", b"blue"]),
        "size": floats(rng, 2, 2),
    }
    live = model([tf.constant(each) for each in inputs.values()]).numpy()
    return model, {}, {"serving_default": inputs}, {"serving_default": {"output_0": live}}


@kind
def mixed_precision(rng: Rng) -> Exported:
    policy = keras.DTypePolicy("mixed_bfloat16")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, dtype=policy),
            layers.Flatten(),
            layers.Dense(3, dtype=policy),
            layers.Activation("softmax", dtype="float32"),
        ]
    )
    x = floats(rng, 3, 8, 8, 1)
    return (
        model,
        {},
        {"serving_default": {"inputs": x}},
        {"serving_default": {"output_0": model.predict(x, verbose=0)}},
    )


class Coder(tf.Module):
    """Sub-graphs over shared variables, a table in a plain list, and an optimizer that stays
    behind.
    """

    def __init__(self, rng: Rng) -> None:
        super().__init__()
        self.w = tf.Variable(floats(rng, 4, 2))
        self.optimizer = keras.optimizers.Adam()
        self.optimizer.build([self.w])
        self.tables = [
            tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64)), -1
            )
        ]

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def encode(self, x: Any) -> Any:
        return x @ self.w

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="code")])
    def decode(self, z: Any) -> Any:
        return {"restored": z @ tf.transpose(self.w)}

    def classify(self, x: Any, key: Any, *, scale: Any = 1.0) -> Any:
        if tf.reduce_sum(x) > 1000:  # the user's own control flow, for autograph
            return tf.constant(-1.0), self.tables[0].lookup(key)
        return tf.reduce_sum(self.encode(x)) * scale, self.tables[0].lookup(key)


@kind
def module(rng: Rng) -> Exported:
    """Its methods that have a signature of their own."""
    coder = Coder(rng)
    x, z = floats(rng, 3, 4), floats(rng, 3, 2)
    return (
        coder,
        {},
        {"encode": {"x": x}, "decode": {"code": z}, "serving_default": {"code": z}},
        {
            "encode": {"output_0": coder.encode(x).numpy()},
            "decode": {"restored": coder.decode(z)["restored"].numpy()},
            "serving_default": {"restored": coder.decode(z)["restored"].numpy()},
        },
    )


@kind
def sub_graphs(rng: Rng) -> Exported:
    coder = Coder(rng)
    x, keys, scale, z = (
        floats(rng, 3, 4),
        np.array([b"b", b"c", b"a"]),
        np.float32(2.5),
        floats(rng, 6, 2),
    )
    signatures = {
        "encoder": coder.encode,
        "classifier": coder.classify,
        "decoder": (
            lambda z, power: coder.decode(z)["restored"] ** power,
            [tf.TensorSpec([None, 2]), tf.TensorSpec([])],
        ),
    }
    samples = {"classifier": {"x": floats(rng, 2, 4), "key": ["a", "z"], "scale": 0.5}}
    total, found = coder.classify(tf.constant(x), tf.constant(keys), scale=scale)
    return (
        coder,
        {"signatures": signatures, "sample": samples},
        {
            "encoder": {"x": x},
            "serving_default": {"x": x},
            "classifier": {"x": x, "key": keys, "scale": scale},
            "decoder": {"z": z, "power": np.float32(2)},
        },
        {
            "encoder": {"output_0": coder.encode(x).numpy()},
            "serving_default": {"output_0": coder.encode(x).numpy()},
            "classifier": {"output_0": total.numpy(), "output_1": found.numpy()},
            "decoder": {"output_0": (coder.decode(z)["restored"] ** 2).numpy()},
        },
    )


@kind
def keras_with_more(rng: Rng) -> Exported:
    """Keras' own signature, a sub-model, and a function with two inputs over the same weights."""
    image, label = keras.Input((4,), name="image"), keras.Input((2,), name="label")
    features = layers.Dense(3, "tanh", name="features")(image)
    model = keras.Model([image, label], layers.Dense(1)(layers.Concatenate()([features, label])))
    body = keras.Model(image, features)

    def distance(first: Any, second: Any) -> Any:
        return {"distance": tf.norm(body(first) - body(second), axis=-1)}

    a, b, c = floats(rng, 3, 4), floats(rng, 3, 4), floats(rng, 3, 2)
    return (
        model,
        {
            "signatures": {"features": body, "distance": distance},
            "sample": {"distance": (a[:2], b[:2]), "serving_default": [a, c]},
        },
        {
            "serving_default": {"image": a, "label": c},
            "features": {"image": a},
            "distance": {"first": a, "second": b},
        },
        {
            "serving_default": {"output_0": model([a, c]).numpy()},
            "features": {"output_0": body(a).numpy()},
            "distance": {"distance": distance(a, b)["distance"].numpy()},
        },
    )


@kind
def function(rng: Rng) -> Exported:
    """A function over a variable and a table that it closes over."""
    weight = tf.Variable(floats(rng, 3))
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer([1, 2], [10.0, 20.0]), 0.0
    )

    def scaled(number: Any) -> Any:
        return table.lookup(number)[:, tf.newaxis] * weight

    numbers = np.array([1, 5, 2], "int32")
    return (
        scaled,
        {"sample": np.array([1, 2], "int32")},
        {"serving_default": {"number": numbers}},
        {"serving_default": {"output_0": scaled(tf.constant(numbers)).numpy()}},
    )


@kind
def counting(rng: Rng) -> Exported:
    """A signature that changes a variable: the live one is as it was, and each caller of the export
    begins there.
    """
    count = tf.Variable(rng.integers(5, 50))

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
    def add(more: Any) -> Any:
        return count.assign_add(more)

    return (
        add,
        {},
        {"serving_default": {"more": np.int64(4)}},
        {"serving_default": {"output_0": np.int64(count.numpy() + 4)}},
    )


@kind
def lazily_built(rng: Rng) -> Exported:
    """A module that makes its variables in its first call."""

    class Lazy(tf.Module):
        w = None

        @tf.function
        def __call__(self, x: Any) -> Any:
            if self.w is None:
                self.w = tf.Variable(tf.ones([x.shape[-1], 2]) * 3)
            return x @ self.w

    x = floats(rng, 3, 4)
    return (
        Lazy(),
        {"sample": floats(rng, 2, 4)},
        {"serve": {"x": x}},
        {"serve": {"output_0": x @ np.full((4, 2), 3, "float32")}},
    )


@kind
def rows_that_count(rng: Rng) -> Exported:
    """A layer that keeps a state for each of four rows, so no other number of rows will do."""
    model = keras.Sequential([keras.Input(batch_shape=(4, 5, 3)), layers.GRU(2, stateful=True)])
    x = floats(rng, 4, 5, 3)
    fresh = keras.Sequential([keras.Input((5, 3)), layers.GRU(2)])
    fresh.set_weights(model.trainable_weights)
    return (
        model,
        {},
        {"serving_default": {"inputs": x}},
        {"serving_default": {"output_0": fresh.predict(x, verbose=0)}},
    )


@kind
def two_arguments(rng: Rng) -> Exported:
    """NumPy's 64 bits are not asked of those who call it."""

    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, first: Any, second: Any) -> Any:
            return self.dense(first) - self.dense(second)

    model = Two()
    a, b = floats(rng, 3, 4), floats(rng, 3, 4)
    options = {"sample": (rng.normal(size=(2, 4)), rng.normal(size=(2, 4)))}
    model(*options["sample"])
    return (
        model,
        options,
        {"serving_default": {"first": a, "second": b}},
        {"serving_default": {"output_0": model(a, b).numpy()}},
    )


@kind
def random_values(rng: Rng) -> Exported:
    """Other values at each call, so only what can be compared is."""

    def noisy(x: Any) -> Any:
        return {"noise": x + tf.random.normal([2]), "rows": tf.shape(x)[0]}

    return (
        noisy,
        {"sample": floats(rng, 4, 2)},
        {"serving_default": {"x": floats(rng, 3, 2)}},
        {"serving_default": {"rows": np.int32(3)}},
    )


def made(name: str, seed: int) -> Exported:
    """One kind: the same in each process."""
    keras.utils.set_random_seed(seed)
    return KINDS[name](np.random.default_rng([seed, *name.encode()]))


def trace_all(seed: int) -> dict[str, dict[str, str]]:
    """The digest of each graph. They are made in another order, so that what TensorFlow and Keras
    count is not the same.
    """
    said = {}
    for name in reversed(KINDS):
        model, options, *_ = made(name, seed)
        traced = _traced(model, ckptkit.ExportSpec(**options), DataForm())
        said[name] = {each.endpoint.name: each.graph for each in traced}
    return said


def export_all(directory: str, seed: int) -> dict[str, Any]:
    """Exports everything; what each record says, beside the inputs and outputs in `<kind>.npz`."""
    checkers.use(checkers.forked())
    said = {}
    for name in KINDS:
        model, options, inputs, outputs = made(name, seed)
        before = {id(v): v.numpy().tobytes() for v in getattr(model, "variables", ())}
        path = ckptkit.export_saved_model(model, f"{directory}/{name}", **options)
        after = {id(v): v.numpy().tobytes() for v in getattr(model, "variables", ())}
        assert all(after[key] == value for key, value in before.items()), (
            f"{name}: the live model was changed"
        )
        record = read_export(path)
        arrays = {
            f"in/{signature}/{key}": value
            for signature, given in inputs.items()
            for key, value in given.items()
        }
        arrays |= {
            f"out/{signature}/{key}": value
            for signature, given in outputs.items()
            for key, value in given.items()
        }
        np.savez(f"{directory}/{name}.npz", **arrays)
        said[name] = {
            "path": str(path),
            "proofs": {key: each.proof.how for key, each in record.signatures.items()},
            "default": record.default,
            "graphs": {key: each.graph for key, each in record.signatures.items()},
            "sample": record.sample,
            "variables": [key for key, _ in tf.train.list_variables(f"{path}/variables/variables")],
        }
    Path(f"{directory}/said.json").write_text(json.dumps(said))
    return said


def export_one(name: str, directory: str, seed: int) -> dict[str, Any]:
    """Exports one kind, with one array in and one out."""
    checkers.use(checkers.forked())
    model, options, inputs, outputs = KINDS[name](np.random.default_rng(seed))
    path = ckptkit.export_saved_model(model, directory, **options)
    return {
        "path": str(path),
        "inputs": inputs["serving_default"]["inputs"].tolist(),
        "outputs": outputs["serving_default"]["output_0"].tolist(),
    }
