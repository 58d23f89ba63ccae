"""`load_weights`: every format, by structure and by name, all or nothing."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from tests.load.conftest import FORMS, bits, network, saved_in, trained


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Each kind of model in each form, made when it is first asked for; and its bits."""
    made = {}

    def get(form, kind):
        if kind not in made:
            made[kind] = trained(network(kind=kind))
        if (form, kind) not in made:
            made[form, kind] = saved_in(form, made[kind], tmp_path_factory.mktemp("saved"))
        return made[form, kind], bits(made[kind])

    return get


SHORT = {
    "sequential": ["run", "versions", "root", "directory", "model.h5"],
    "subclassed": ["prefix", "model.keras", "tf.saved_model.save"],
    "functional": ["checkpoint of a run", "prefix of a run", "model.weights.h5", "keras export"],
}
"""Each format once, with the kind of model that it finds hardest; the long suite has all of each.
"""


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        pytest.param(form, kind, marks=[] if form in SHORT[kind] else [pytest.mark.long])
        for kind in SHORT
        for form in FORMS
    ],
)
def test_every_format_brings_the_same_bits_back(saved, form, kind):
    if (form, kind) == ("model.h5", "subclassed"):
        pytest.skip("Keras does not write it")
    source, expected = saved(form, kind)
    for _ in range(2):
        keras.layers.Dense(1)  # automatic names begin elsewhere
    model = network(kind=kind)
    report = ckptkit.load_weights(model, source)
    assert bits(model) == expected
    assert len(report.matched) == len(model.weights)
    assert not report.differences


def named(*names: str, head: int = 2) -> keras.Model:
    """Layers of one form, told apart by their names alone."""
    return keras.Sequential(
        [
            keras.Input((3,)),
            *(keras.layers.Dense(3, name=name) for name in names),
            keras.layers.Dense(head, name="head"),
        ]
    )


def values(model: keras.Model, layer: str) -> list[bytes]:
    """The bits of one layer."""
    return [each.tobytes() for each in model.get_layer(layer).get_weights()]


NAMED_FORMS = ["run", "prefix", "model.keras", "model.weights.h5", "model.h5", "keras export"]


@pytest.mark.parametrize("form", NAMED_FORMS)
def test_layers_that_changed_places_are_found_by_their_names(tmp_path, form):
    saved = named("a", "b", "c")
    source = saved_in(form, saved, tmp_path)
    model = named("b", "c", "a")
    report = ckptkit.load_weights(model, source)
    for name in ("a", "b", "c", "head"):
        assert values(model, name) == values(saved, name)
    assert {each.by for each in report.matched} == {"name"}
    assert "8 of them by name" in str(report)


@pytest.mark.parametrize("form", NAMED_FORMS)
def test_a_new_head_keeps_its_own_weights(tmp_path, form):
    saved = named("a", "b")
    source = saved_in(form, saved, tmp_path)
    model = named("a", "b", head=5)
    before, head = bits(model), values(model, "head")
    with pytest.raises(
        ckptkit.IncompatibleStateError,
        match=r"(?s)Nothing was assigned.*shape.*head.*\(3, 2\) float32.*\(3, 5\) float32",
    ) as caught:
        ckptkit.load_weights(model, source)
    assert "strict=False" in str(caught.value)
    assert bits(model) == before
    report = ckptkit.load_weights(model, source, strict=False)
    assert bits(model)[:4] == bits(saved)[:4]
    assert values(model, "head") == head
    assert [difference.kind for difference in report.differences] == ["shape", "shape"]
    assert len(report.matched) == 4


@pytest.mark.parametrize("form", NAMED_FORMS)
def test_more_and_fewer_layers_are_told(tmp_path, form):
    """Also where what is there has moved for it: the head is found by its name."""
    saved = named("a", "b")
    source = saved_in(form, saved, tmp_path)
    for names, kind, told in ((("a", "b", "new"), "extra", "new"), (("a",), "missing", "b")):
        model = named(*names)
        before = bits(model)
        with pytest.raises(
            ckptkit.IncompatibleStateError, match=f"(?s)Nothing was assigned.*{kind}.*{told}"
        ):
            ckptkit.load_weights(model, source)
        assert bits(model) == before
        report = ckptkit.load_weights(model, source, strict=False)
        assert [difference.kind for difference in report.differences] == [kind, kind]
        for layer in ("a", "head"):
            assert values(model, layer) == values(saved, layer)


def test_a_new_name_in_an_old_place_is_the_same_layer(tmp_path):
    saved = named("a", "b")
    model = named("a", "other")
    assert not ckptkit.load_weights(model, saved_in("run", saved, tmp_path)).differences
    assert bits(model) == bits(saved)


def test_nothing_that_matches_is_an_error_also_where_little_is_asked(tmp_path):
    source = saved_in("model.weights.h5", named("a"), tmp_path)
    other = keras.Sequential([keras.Input((7,)), keras.layers.Dense(9, name="z")])
    before = bits(other)
    with pytest.raises(ckptkit.IncompatibleStateError, match="None of its weights matches"):
        ckptkit.load_weights(other, source, strict=False)
    assert bits(other) == before


def test_types_are_compared(tmp_path):
    source = saved_in("model.weights.h5", named("a"), tmp_path)
    keras.config.set_dtype_policy("float64")
    try:
        model = named("a")
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ckptkit.IncompatibleStateError, match=r"dtype.*float32.*float64"):
        ckptkit.load_weights(model, source)


def test_bfloat16_comes_back(tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    try:
        saved, model = named("a"), named("a")
    finally:
        keras.config.set_dtype_policy("float32")
    for form in ("run", "prefix", "model.weights.h5"):
        fresh = [variable.numpy() * 0 for variable in model.weights]
        model.set_weights(fresh)
        ckptkit.load_weights(model, saved_in(form, saved, tmp_path / form.replace(" ", "")))
        assert bits(model) == bits(saved)


def test_an_assignment_that_fails_leaves_all_as_it_was(tmp_path, monkeypatch):
    source = saved_in("run", named("a", "b"), tmp_path)
    model = named("a", "b")
    before = bits(model)
    third = model.weights[2].value
    real = type(third).assign

    def refuse(self, value, *rest, **more):
        if self is third and value.numpy().tobytes() != before[2]:
            raise tf.errors.ResourceExhaustedError(None, None, "no memory")
        return real(self, value, *rest, **more)

    monkeypatch.setattr(type(third), "assign", refuse)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        ckptkit.load_weights(model, source)
    assert bits(model) == before


def test_one_of_several_models_in_a_checkpoint(tmp_path):
    generator, twin, other = named("a"), named("a"), named("a", "b")
    prefix = tf.train.Checkpoint(generator=generator, twin=twin, other=other).write(
        str(tmp_path / "gan")
    )
    model = named("a", "b")
    ckptkit.load_weights(model, prefix)
    assert bits(model) == bits(other)
    model = named("a")
    with pytest.raises(ckptkit.ConfigError, match=r"several objects.*'generator'.*'twin'"):
        ckptkit.load_weights(model, prefix)
    ckptkit.load_weights(model, prefix, name="twin")
    assert bits(model) == bits(twin)
    with pytest.raises(ckptkit.CheckpointNotFoundError, match=r"no object 'nobody'.*'generator'"):
        ckptkit.load_weights(model, prefix, name="nobody")


def test_weights_as_keras_2_called_them(tmp_path):
    """`model.save_weights(prefix)` of Keras 2: objects by the number among the layers that have
    weights.
    """
    weights = [tf.Variable(tf.random.normal(shape)) for shape in ((3, 3), (3,), (3, 2), (2,))]
    layers = [
        tf.train.Checkpoint(kernel=weights[number], bias=weights[number + 1]) for number in (0, 2)
    ]
    prefix = tf.train.Checkpoint(
        **{f"layer_with_weights-{number}": layer for number, layer in enumerate(layers)}
    ).write(str(tmp_path / "old"))
    model = named("a")
    ckptkit.load_weights(model, prefix)
    assert bits(model) == [weight.numpy().tobytes() for weight in weights]


def test_a_normalization_computes_with_what_was_loaded(tmp_path):
    def normalizing() -> keras.Model:
        layer = keras.layers.Normalization()
        layer.build((None, 3))
        return keras.Sequential([keras.Input((3,)), layer])

    saved, model, x = (
        normalizing(),
        normalizing(),
        np.random.default_rng().normal(5, 2, (64, 3)).astype("float32"),
    )
    model.predict(x, verbose=0)
    saved.layers[0].adapt(x)
    ckptkit.load_weights(model, saved_in("run", saved, tmp_path))
    assert model.predict(x, verbose=0).tobytes() == saved.predict(x, verbose=0).tobytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"step": 3}, "step chooses a checkpoint of a run"),
        ({"step": "newest"}, "step is a number"),
        ({"name": "model"}, "name chooses one of several"),
        ({"strict": "no"}, "Expected strict=True"),
    ],
)
def test_arguments_that_have_no_meaning(tmp_path, arguments, said):
    source = saved_in("model.weights.h5", named("a"), tmp_path)
    with pytest.raises(ckptkit.ConfigError, match=said):
        ckptkit.load_weights(named("a"), source, **arguments)


def test_where_nothing_is(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in ("empty", "missing", "missing.keras"):
        with pytest.raises(ckptkit.CheckpointNotFoundError):
            ckptkit.load_weights(named("a"), tmp_path / path)
