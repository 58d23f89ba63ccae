"""The twelve classic situations in which a model leaves training and comes back, each as its user
would write it.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit


def data(rows: int = 32, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng().normal(size=(rows, width)).astype("float32")
    return x, (x.sum(axis=1, keepdims=True) > 0).astype("float32")


def sequential() -> keras.Sequential:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def bits(*parts) -> list[bytes]:
    return [variable.numpy().tobytes() for part in parts for variable in part.variables]


class Scale(keras.layers.Layer):
    """A layer of one's own, with an argument and a weight."""

    def __init__(self, factor=2.0, **options):
        super().__init__(**options)
        self.factor = factor

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")

    def call(self, inputs):
        return inputs * self.gain * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class Classifier(keras.Model):
    """A model of one's own, with a layer of one's own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.hidden = keras.layers.Dense(8, activation="tanh")
        self.scale = Scale(0.5)
        self.out = keras.layers.Dense(1)

    def call(self, inputs):
        return self.out(self.scale(self.hidden(inputs)))


def test_1_a_simple_sequential_gives_the_same_output_again(tmp_path):
    x, y = data()
    model = sequential()
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")

    again = ckptkit.load_model(tmp_path / "model.keras")

    assert again.predict(x, verbose=0).tobytes() == model.predict(x, verbose=0).tobytes()


def test_2_a_custom_layer_with_custom_objects(tmp_path):
    x, y = data()
    model = keras.Sequential([keras.Input((4,)), Scale(3.0), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")

    for name in ("model.keras", "model.h5"):
        with pytest.raises(
            ckptkit.ConfigError, match=r"needs the (class|layer) 'Scale'.*custom_objects"
        ):
            ckptkit.load_model(tmp_path / name)
        again = ckptkit.load_model(tmp_path / name, custom_objects={"Scale": Scale})
        assert again.layers[0].factor == 3.0
        assert again.predict(x, verbose=0).tobytes() == model.predict(x, verbose=0).tobytes()


def test_3_a_functional_model_with_two_inputs(tmp_path, elsewhere):
    words, numbers = keras.Input((3,), name="words"), keras.Input((2,), name="numbers")
    both = keras.layers.Concatenate()([keras.layers.Dense(4)(words), numbers])
    model = keras.Model([words, numbers], keras.layers.Dense(1, name="score")(both))
    model.compile("adam", "mse")
    a, b = data(8, 3)[0], data(8, 2)[0]
    model.fit({"words": a, "numbers": b}, np.ones((8, 1)), verbose=0)
    model.save(tmp_path / "model.keras")
    published = ckptkit.export_saved_model(model, tmp_path / "export", sample=[a, b])

    again = ckptkit.load_model(tmp_path / "model.keras")
    by_position, by_name = (
        elsewhere(published.parent, a, b),
        elsewhere(published.parent, numbers=b, words=a),
    )

    expected = model.predict([a, b], verbose=0)
    assert again.predict([a, b], verbose=0).tobytes() == expected.tobytes()
    assert by_position.value.tobytes() == by_name.value.tobytes()
    np.testing.assert_allclose(by_name.value, expected, rtol=1e-5, atol=1e-6)


def test_4_a_subclassed_model_with_a_custom_layer_comes_back_without_its_class(tmp_path, elsewhere):
    x, y = data()
    model = Classifier()
    model.compile("adam", "mse")
    model.fit(x, y, epochs=2, verbose=0)

    published = ckptkit.export_saved_model(model, tmp_path / "export", sample=x[:4])

    np.testing.assert_allclose(
        elsewhere(published, x).value, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("way", ["a .keras file", "a run", "weights of a run"])
def test_5_trained_saved_with_the_optimizer_loaded_and_trained_on_to_the_same_bits(tmp_path, way):
    x, y = data()

    def train(model, *callbacks):
        model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0, callbacks=list(callbacks))

    unbroken = sequential()
    train(
        unbroken,
        *(
            []
            if way == "a .keras file"
            else [ckptkit.CheckpointCallback(tmp_path / "run", export=False)]
        ),
    )
    if way == "a .keras file":
        unbroken.save(tmp_path / "model.keras")
        resumed = ckptkit.load_model(tmp_path / "model.keras")
    elif way == "a run":
        resumed = ckptkit.load_model(tmp_path / "run")
    else:
        resumed = sequential()
        ckptkit.load_weights(resumed, tmp_path / "run")
    assert bits(resumed) == bits(unbroken)
    same_optimizer = way != "weights of a run"
    train(unbroken)
    train(resumed)

    assert (
        bits(resumed, resumed.optimizer) == bits(unbroken, unbroken.optimizer)
    ) == same_optimizer  # which it takes


def test_6_a_subclassed_model_that_was_only_compiled(tmp_path, elsewhere):
    model = Classifier()
    model.compile("adam", "mse")
    x, _ = data()

    with pytest.raises(ckptkit.ExportError, match="sample"):
        ckptkit.export_saved_model(model, tmp_path / "export")
    assert not list((tmp_path / "export").glob("*"))
    with pytest.raises(ckptkit.ConfigError, match=r"no variables yet.*call it once on a batch"):
        ckptkit.load_weights(model, tmp_path)
    published = ckptkit.export_saved_model(model, tmp_path / "export", sample=x)

    np.testing.assert_allclose(
        elsewhere(published, x).value, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )


def test_7_tensorflows_own_checkpoint_with_the_optimizer(tmp_path):
    x, y = data()
    model = sequential()
    model.fit(x, y, epochs=2, verbose=0)
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "ckpt"))

    restored = sequential()
    restored.optimizer.build(restored.trainable_variables)
    tf.train.Checkpoint(model=restored, optimizer=restored.optimizer).restore(path).expect_partial()
    loaded = sequential()
    ckptkit.load_weights(loaded, path)
    with ckptkit.CheckpointManager(
        tmp_path / "run", state={"model": model, "optimizer": model.optimizer}
    ) as manager:
        manager.save(1)
    ours = sequential()
    ours.test_on_batch(x, y)  # makes the metrics, which the run has saved
    with ckptkit.CheckpointManager(
        tmp_path / "run", state={"model": ours, "optimizer": ours.optimizer}
    ):
        pass

    assert (
        bits(restored, restored.optimizer)
        == bits(model, model.optimizer)
        == bits(ours, ours.optimizer)
    )
    assert bits(loaded) == bits(model)


def test_8_a_layer_with_get_config_that_is_registered(tmp_path):
    @keras.saving.register_keras_serializable("twelve")
    class Power(keras.layers.Layer):
        def __init__(self, exponent, **options):
            super().__init__(**options)
            self.exponent = exponent

        def call(self, inputs):
            return inputs**self.exponent

        def get_config(self):
            return {**super().get_config(), "exponent": self.exponent}

    x, y = data()
    model = keras.Sequential([keras.Input((4,)), Power(3), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(
        x, y, verbose=0, callbacks=[ckptkit.CheckpointCallback(tmp_path / "run", export=False)]
    )
    model.save(tmp_path / "model.keras")

    for source in (tmp_path / "run", tmp_path / "model.keras"):
        again = ckptkit.load_model(source)
        assert again.layers[0].exponent == 3
        assert again.predict(x, verbose=0).tobytes() == model.predict(x, verbose=0).tobytes()


def test_9_serving_default_with_inputs_and_outputs_described(tmp_path, elsewhere):
    inputs = keras.Input((4,), name="measurements")
    model = keras.Model(
        inputs,
        {"probability": keras.layers.Dense(1, activation="sigmoid", name="probability")(inputs)},
    )
    published = ckptkit.export_saved_model(model, tmp_path / "export")
    x, _ = data(5)

    answer = elsewhere(published.parent, signature="serving_default", measurements=x)

    assert answer.value.keys() == {"probability"}
    np.testing.assert_allclose(
        answer.value["probability"], model(x)["probability"].numpy(), rtol=1e-5, atol=1e-6
    )
    assert (
        "serving_default(measurements: (?, 4) float32) -> probability: (?, 1) float32"
        in answer.described
    )


def test_10_a_custom_signature_with_two_inputs(tmp_path, elsewhere):
    model = sequential()

    def scored(features, weight):
        return {"score": model(features) * weight}

    specs = {"features": tf.TensorSpec([None, 4]), "weight": tf.TensorSpec([])}
    published = ckptkit.export_saved_model(
        model, tmp_path / "export", signatures={"scored": (scored, specs)}
    )
    x, _ = data(3)

    answer = elsewhere(published, x, np.float32(3), signature="scored")
    named = elsewhere(published, signature="scored", weight=np.float32(3), features=x)

    np.testing.assert_allclose(
        answer.value["score"], 3 * model.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )
    assert named.value["score"].tobytes() == answer.value["score"].tobytes()


def test_11_several_sub_graphs_called_on_their_own(tmp_path, elsewhere):
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
    classifier = keras.Sequential([encoder, keras.layers.Dense(3, activation="softmax")])
    autoencoder = keras.Sequential([encoder, decoder])
    x, _ = data(6)

    published = ckptkit.export_saved_model(
        autoencoder,
        tmp_path / "export",
        sample={"serve": x},
        signatures={"encode": encoder, "decode": decoder, "classify": classifier},
    )

    encoded = elsewhere(published, x, signature="encode")
    (code,) = encoded.value.values()
    (decoded,) = elsewhere(published, code, signature="decode").value.values()
    (classes,) = elsewhere(published, x, signature="classify").value.values()
    assert {"encode", "decode", "classify", "serving_default"} <= set(encoded.signatures)
    np.testing.assert_allclose(decoded, autoencoder.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(elsewhere(published, x).value, decoded, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classes, classifier.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "model.h5"])
def test_12_each_of_keras_files(tmp_path, name):
    x, y = data()
    model = sequential()
    model.fit(x, y, epochs=2, verbose=0)
    (model.save_weights if name == "model.weights.h5" else model.save)(tmp_path / name)

    fresh = sequential()
    report = ckptkit.load_weights(fresh, tmp_path / name)
    assert bits(fresh) == bits(model)
    assert len(report.matched) == 4
    if name == "model.weights.h5":
        with pytest.raises(ckptkit.ConfigError, match="contains weights, but no architecture"):
            ckptkit.load_model(tmp_path / name)
    else:
        again = ckptkit.load_model(tmp_path / name)
        assert bits(again, again.optimizer) == bits(model, model.optimizer)
        for each in (model, again):
            each.fit(x, y, shuffle=False, verbose=0)
        assert bits(again, again.optimizer) == bits(model, model.optimizer)
