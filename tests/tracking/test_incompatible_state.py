"""A state of another form is refused with a table; one with other names is restored."""

from __future__ import annotations

import json

import pytest

from tests.support.spread import spread

MODELS = """
    import json, sys
    import keras, numpy as np, tensorflow as tf
    from keras import layers
    import ckptkit


    def stack(*parts, optimizer="adam", shape=(4,)):
        model = keras.Sequential([keras.Input(shape), *parts])
        model.compile(optimizer, "mse")
        return {"model": model}


    def swapped(first, second, turned):
        # Two layers of one form, made in one order and used in the other: every weight fits either
        # place.
        return stack(*((second, first) if turned else (first, second)), layers.Dense(1))


    def variables(**kinds):
        return {name: tf.Variable(tf.zeros(shape, dtype)) for name, (shape, dtype) in kinds.items()}


    D, N = layers.Dense, layers.BatchNormalization
    FORMS = {
        "plain": lambda: stack(D(4), D(4), D(1)),
        "named": lambda: stack(D(4, name="p"), D(4, name="q"), D(1, name="r")),
        "swapped, named": lambda: swapped(D(4, name="p"), D(4, name="q"), True),
        "not swapped, named": lambda: swapped(D(4, name="p"), D(4, name="q"), False),
        "swapped, numbered": lambda: swapped(D(4), D(4), True),
        "not swapped, numbered": lambda: swapped(D(4), D(4), False),
        "swapped, some way in": lambda: stack(
            N(name="n1"), D(4, name="p"), N(name="n2"), D(4, name="q"), D(1)
        ),
        "and the other way": lambda: stack(
            N(name="n2"), D(4, name="q"), N(name="n1"), D(4, name="p"), D(1)
        ),
        "renamed": lambda: stack(D(4, name="p"), D(4, name="another"), D(1, name="r")),
        "given names": lambda: stack(D(4, name="x"), D(4, name="y"), D(1, name="z")),
        "sgd": lambda: stack(D(4), D(4), D(1), optimizer=keras.optimizers.SGD(0.001)),
        "rmsprop": lambda: stack(D(4), D(4), D(1), optimizer="rmsprop"),
        "adamax": lambda: stack(D(4), D(4), D(1), optimizer="adamax"),
        "weightless": lambda: stack(D(4), layers.Activation("relu"), layers.Flatten(), D(4), D(1)),
        "dropout": lambda: stack(D(4), layers.Dropout(0.1), D(4), D(1)),
        "wider": lambda: stack(D(4), D(6), D(1)),
        "half": lambda: stack(D(4), D(4, dtype="float16"), D(1)),
        "longer": lambda: stack(D(4), D(4), D(4), D(1)),
        "shorter": lambda: stack(D(4), D(1)),
        "no bias": lambda: stack(D(4), D(4, use_bias=False), D(1)),
        "other input": lambda: stack(D(4), D(4), D(1), shape=(5,)),
        "v": lambda: variables(a=((2,), "float32"), b=((2, 3), "int32")),
        "v, another shape": lambda: variables(a=((3,), "float32"), b=((2, 3), "int32")),
        "v, another type": lambda: variables(a=((2,), "float64"), b=((2, 3), "int32")),
        "v, fewer": lambda: variables(a=((2,), "float32")),
        "v, more": lambda: variables(a=((2,), "float32"), b=((2, 3), "int32"), c=((), "bool")),
        "v, another name": lambda: variables(a=((2,), "float32"), bb=((2, 3), "int32")),
    }


    def optimizer(value):
        return getattr(value, "optimizer", None)


    def everything(state):
        found = []
        for value in state.values():
            found += (
                [value]
                if isinstance(value, tf.Variable)
                else [*value.variables, *(optimizer(value).variables if optimizer(value) else [])]
            )
        return [variable.numpy().tolist() for variable in found]

    run, form, what, seed = sys.argv[1:]
    if what == "restore":
        stack(D(2), D(2), D(2), N())  # the numbers of names begin elsewhere
    state = FORMS[form]()
    manager = ckptkit.CheckpointManager(run, state)
    if what == "save":
        with manager:
            rng = np.random.default_rng(int(seed))
            for value in state.values():
                if isinstance(value, keras.Model):
                    for variable in value.variables:
                        if "seed" not in variable.path:
                            variable.assign(rng.normal(size=variable.shape).astype("float32"))
                else:
                    value.assign(tf.cast(rng.integers(1, 100, value.shape), value.dtype))
            manager.save(1)
        print(json.dumps({"values": everything(state)}))
    else:
        for value in state.values():  # so that nothing is built by the manager only
            if optimizer(value):
                optimizer(value).build(value.trainable_variables)
        before = everything(state)
        try:
            manager.restore_or_initialize()
        except (ckptkit.IncompatibleStateError, ckptkit.ConfigError) as error:
            assert isinstance(error, ValueError)
            print(json.dumps({"error": str(error), "values": everything(state), "before": before}))
        else:
            print(json.dumps({"values": everything(state), "before": before}))
"""


@pytest.fixture
def attempt(tf_process, tmp_path, seed):
    def attempt(form, what):
        process = tf_process(MODELS, tmp_path / "run", form, what, seed).check()
        return json.loads(process.stdout.splitlines()[-1])

    return attempt


@pytest.mark.parametrize(
    ("saved", "live"),
    [
        ("plain", "plain"),
        ("named", "renamed"),
        ("named", "given names"),
        ("named", "plain"),
        ("plain", "named"),
        ("not swapped, numbered", "plain"),
    ],
)
def test_states_that_differ_in_names_only_are_restored(attempt, saved, live):
    values = attempt(saved, "save")["values"]
    restored = attempt(live, "restore")
    assert "error" not in restored
    assert restored["values"] == values
    assert restored["before"] != values


@pytest.mark.parametrize(
    ("saved", "live", "says"),
    [
        # What a row of the table begins with, then words that it holds.
        (
            "not swapped, named",
            "swapped, named",
            ["order model/weights/0 p/kernel q/kernel", "order model/weights/2 q/kernel p/kernel"],
        ),
        (
            "not swapped, numbered",
            "swapped, numbered",
            ["order model/weights/0", "order model/weights/2"],
        ),
        (
            "swapped, some way in",
            "and the other way",
            ["order n1/gamma n2/gamma", "order p/kernel q/kernel"],
        ),
        ("plain", "sgd", ["optimizer model Adam SGD", "missing model/optimizer/ momentum"]),
        ("sgd", "plain", ["optimizer model SGD Adam", "extra model/optimizer/ momentum"]),
        ("plain", "adamax", ["optimizer model Adam Adamax"]),
        ("plain", "rmsprop", ["optimizer model Adam RMSprop"]),
        ("plain", "dropout", ["extra model/seeds/0 dropout"]),
        ("dropout", "plain", ["missing model/seeds/0 dropout"]),
        (
            "plain",
            "wider",
            [
                "shape model/weights/2 (4, 4) (4, 6)",
                "shape model/weights/3 (4) (6)",
                "shape model/weights/4 (4, 1) (6, 1)",
            ],
        ),
        ("plain", "half", ["dtype model/weights/2 float32 float16"]),
        ("plain", "longer", ["extra model/weights/6"]),
        ("plain", "shorter", ["missing model/weights/4", "missing model/weights/5"]),
        ("plain", "no bias", ["missing model/weights/5"]),
        ("plain", "other input", ["shape model/weights/0 (4, 4) (5, 4)"]),
        ("v", "v, another shape", ["shape a/variables/0 (2) float32 (3) float32"]),
        ("v", "v, another type", ["dtype a/variables/0 (2) float32 (2) float64"]),
        ("v", "v, fewer", ["missing b/variables/0 (2, 3) int32"]),
        ("v", "v, more", ["extra c/variables/0 () bool"]),
        ("v", "v, another name", ["missing b/variables/0", "extra bb/variables/0"]),
    ],
)
def test_a_state_of_another_form_is_refused_with_a_table_and_nothing_is_assigned(
    attempt, saved, live, says
):
    attempt(saved, "save")
    received = attempt(live, "restore")
    assert "error" in received, "restored although the form differs"
    assert received["values"] == received["before"]
    rows = received["error"].splitlines()
    assert "Nothing was assigned" in received["error"]
    assert "checkpoint" in rows[1]
    assert "program" in rows[1]
    for kind, *words in map(str.split, says):
        assert any(row.startswith(kind) and all(word in row for word in words) for row in rows), (
            f"no row {kind} {words} in\n{received['error']}"
        )
    assert all(len(row) <= 300 for row in rows)


@pytest.mark.parametrize(
    ("saved", "live"), spread([("plain", "weightless"), ("weightless", "plain")])
)
def test_another_network_of_the_same_weights_is_refused(attempt, saved, live):
    attempt(saved, "save")
    received = attempt(live, "restore")
    assert received["values"] == received["before"]
    assert "Nothing was trained or overwritten" in received["error"]
    assert "  model/activation: " in received["error"] or "  activation: " in received["error"]


def test_a_long_table_is_cut_and_says_how_much_more_there_is(attempt, tf_process, tmp_path):
    program = """
        import sys, tensorflow as tf, ckptkit
        state = {f"v{i}": tf.Variable(0.0) for i in range(int(sys.argv[2]))}
        with ckptkit.CheckpointManager(sys.argv[1], state) as manager:
            manager.save(1)
    """
    tf_process(program, tmp_path / "run", 200).check()
    process = tf_process(program, tmp_path / "run", 1)
    process.check(code=1)
    assert process.stderr.count("\nmissing") == 30
    assert "... and 169 more" in process.stderr
