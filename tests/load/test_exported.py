"""`load_exported`: versions, calls by position and by name, and helpful errors."""

from __future__ import annotations

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.exports import version_directories
from ckptkit.load import formats, model_description


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng().normal(size=shape).astype("float32")


@pytest.fixture(scope="module")
def two_inputs():
    """A model whose inputs' alphabetical order is not theirs, with several outputs."""
    zed, alpha = keras.Input((2,), name="zed"), keras.Input((2,), name="alpha")
    outputs = {
        "total": keras.layers.Add()([zed, alpha]),
        "difference": keras.layers.Subtract()([zed, alpha]),
    }
    return keras.Model([zed, alpha], outputs)


@pytest.fixture(scope="module")
def served(two_inputs, tmp_path_factory):
    return ckptkit.load_exported(
        ckptkit.export_saved_model(two_inputs, tmp_path_factory.mktemp("export"))
    )


def test_positional_inputs_have_the_models_order_and_names_work_too(served, two_inputs):
    a, b = data(3, 2), data(3, 2)
    expected = {name: value.numpy() for name, value in two_inputs([a, b]).items()}
    ways = [
        served(a, b),
        served([a, b]),
        served(zed=a, alpha=b),
        served(alpha=b, zed=a),
        served({"alpha": b, "zed": a}),
        served(a, alpha=b),
    ]
    for returned in ways:
        assert returned.keys() == expected.keys()
        assert all(
            isinstance(value, np.ndarray) and value.tobytes() == expected[name].tobytes()
            for name, value in returned.items()
        )


def test_inputs_and_outputs_are_described(served):
    text = repr(served)
    assert (
        "serving_default(zed: (?, 2) float32, alpha: (?, 2) float32) -> difference: (?, 2) "
        "float32, total: (?, 2) float32" in text
    )
    assert served.signatures["serving_default"].inputs["zed"].shape == (None, 2)


@pytest.mark.parametrize(
    ("positional", "named", "said"),
    [
        ([], {"zed": data(1, 2)}, ["missing 'alpha'", "zed: (?, 2) float32"]),
        (
            [],
            {"zed": data(1, 2), "alpha": data(1, 2), "beta": data(1, 2)},
            ["unknown 'beta'", "alpha: (?, 2) float32"],
        ),
        ([data(1, 2)], {"zed": data(1, 2), "alpha": data(1, 2)}, ["by position and by name 'zed'"]),
        ([data(1, 2)] * 3, {}, ["takes 2 inputs", "Received 3"]),
        (
            [data(1, 2), data(1, 3)],
            {},
            ["'alpha'", "Expected alpha: (?, 2) float32", "Received (1, 3) float32"],
        ),
        ([data(1, 2), data(2)], {}, ["Received (2) float32"]),
        ([data(1, 2), data(1, 2).astype("float64")], {}, ["Expected float32", "Received float64"]),
        ([data(1, 2), [["a", "b"]]], {}, ["cannot be converted"]),
    ],
)
def test_what_does_not_fit_is_said(served, positional, named, said):
    with pytest.raises(ckptkit.ConfigError) as caught:
        served(*positional, **named)
    for each in said:
        assert each in str(caught.value)


def test_plain_lists_take_the_expected_type(served):
    returned = served([[1, 2]], [[3, 4.5]])
    assert returned["total"].dtype == np.float32
    assert returned["total"].tolist() == [[4.0, 6.5]]


class Several(tf.Module):
    """Functions that no signature is called serving_default."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(3.0)

    @tf.function(
        input_signature=[tf.TensorSpec([None], name="zeta"), tf.TensorSpec([], name="beta")]
    )
    def scale(self, zeta, beta):
        return {"scaled": zeta * self.factor - beta}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def shout(self, words):
        return {"loud": tf.strings.upper(words), "many": tf.size(words)}


def test_a_saved_model_of_any_origin(tmp_path):
    module = Several()
    tf.saved_model.save(
        module, str(tmp_path / "several"), signatures={"scale": module.scale, "shout": module.shout}
    )
    served = ckptkit.load_exported(tmp_path / "several")
    assert served.version is None
    values = served.signatures["scale"](np.array([1, 2], "float32"), np.float32(1))
    assert values["scaled"].tolist() == [2.0, 5.0]
    assert served.signatures["shout"](["a", "bc"])["loud"].tolist() == [b"A", b"BC"]
    with pytest.raises(ckptkit.ConfigError, match=r"Call one by name.*'scale', 'shout'"):
        served([1.0])


def test_the_newest_version_or_the_one_that_is_named(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    for version in (2, 10):
        model.set_weights([np.full((1, 1), version, "float32")])
        ckptkit.export_saved_model(model, tmp_path, version=version)
    (tmp_path / ".writing-11-1").mkdir()
    (tmp_path / "notes").mkdir()
    one = np.ones((1, 1), "float32")
    assert (
        ckptkit.load_exported(tmp_path).version,
        ckptkit.load_exported(tmp_path)(one).item(),
    ) == (10, 10.0)
    assert ckptkit.load_exported(tmp_path, 2)(one).item() == 2.0
    assert ckptkit.load_exported(tmp_path / "2")(one).item() == 2.0
    with pytest.raises(ckptkit.CheckpointNotFoundError, match=r"3\. Expected one of: 2, 10\."):
        ckptkit.load_exported(tmp_path, 3)
    with pytest.raises(ckptkit.ConfigError, match="Leave version out"):
        ckptkit.load_exported(tmp_path / "2", version=2)
    (tmp_path / "10" / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ckptkit.CorruptCheckpointError, match="cannot load"):
        ckptkit.load_exported(tmp_path)
    (tmp_path / "10" / "saved_model.pb").unlink()
    with pytest.raises(ckptkit.CorruptCheckpointError, match=r"saved_model\.pb is missing"):
        ckptkit.load_exported(tmp_path)


@pytest.mark.parametrize(
    "largest", [time.time_ns(), version_directories.MAX_VERSION], ids=["nanoseconds", "the largest"]
)
def test_what_is_published_is_found_up_to_the_largest_number_there_is(tmp_path, largest):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    ckptkit.export_saved_model(model, tmp_path, version=5)
    model.set_weights([np.full((1, 1), 7, "float32")])
    ckptkit.export_saved_model(model, tmp_path, version=largest)
    (tmp_path / str(version_directories.MAX_VERSION + 1)).mkdir()  # no server takes it
    served = ckptkit.load_exported(tmp_path)
    assert (served.version, served(np.ones((1, 1), "float32")).item()) == (largest, 7.0)
    assert ckptkit.load_exported(tmp_path, largest).version == largest
    assert formats.newest_version(formats.recognise(tmp_path)).name == str(largest)
    assert model_description.describe(formats.recognise(tmp_path)).published == (5, largest)
    if largest == version_directories.MAX_VERSION:
        with pytest.raises(ckptkit.ConfigError, match="largest possible number"):
            ckptkit.export_saved_model(model, tmp_path)
    else:
        assert ckptkit.export_saved_model(model, tmp_path).name == str(largest + 1)


def test_an_operation_of_a_library_that_is_not_imported(tmp_path):
    """As of tensorflow_text: the model is whole."""
    path = ckptkit.export_saved_model(
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="tanh")]), tmp_path
    )
    graph = path / "saved_model.pb"
    graph.write_bytes(graph.read_bytes().replace(b"Tanh", b"Tanx"))
    with pytest.raises(
        ckptkit.ConfigError, match=r"needs the operation 'Tanx', .* import tensorflow_text"
    ):
        ckptkit.load_exported(path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_where_there_is_none(tmp_path, make):
    make(tmp_path / "export")
    with pytest.raises(ckptkit.CheckpointNotFoundError):
        ckptkit.load_exported(tmp_path / "export")
