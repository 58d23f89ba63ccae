"""A changed setting of a layer is reported as other hyperparameters are: name, then, now."""

from __future__ import annotations

import itertools
import json

import pytest

import ckptkit
from ckptkit.layout import RunLayout
from ckptkit.restore.layer_comparison import compare_layers
from ckptkit.run import architecture_file
from ckptkit.session import process_registry
from tests.keras.conftest import journal_events


def model(trainings, *, rate=0.1, activation="tanh", regularizer=None, dtype=None, seed=3, more=()):
    keras = trainings.keras
    keras.utils.set_random_seed(seed)
    made = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, activation, kernel_regularizer=regularizer, dtype=dtype),
            keras.layers.Dropout(rate),
            *more,
            keras.layers.Dense(1),
        ]
    )
    made.compile("adam", "mse")
    return made


@pytest.fixture
def begun(trainings, run):
    """Begin a run, and return a function that resumes it with other settings."""
    trainings.interrupted(run, model(trainings))

    def resume(options, **settings):
        process_registry.state.finished.clear()
        made = model(trainings, **settings)
        return trainings.fit(run, made, **options), made

    return resume


def test_a_changed_setting_is_an_error_until_it_is_settled(trainings, run, begun):
    for name, value, then, now in [
        ("rate", 0.5, "0.1", "0.5"),
        ("activation", "relu", '"tanh"', '"relu"'),
        ("regularizer", "l2", "null", '"L2(l2=0.01)"'),
        ("dtype", "mixed_bfloat16", '"float32"', '"mixed_bfloat16"'),
        ("more", (trainings.keras.layers.ReLU(),), "nothing of that name", '"ReLU"'),
    ]:
        with pytest.raises(ckptkit.ConfigError) as caught:
            begun({}, **{name: value})
        message = str(caught.value)
        assert f"the run has {then}, the code says {now}" in message
        assert "Nothing was trained or overwritten" in message
    assert not journal_events(run, "restored")
    decision = {"changed": {"dropout.rate": "code"}}
    with pytest.raises(ckptkit.ConfigError, match="cannot be taken from the checkpoint"):
        begun({"changed": {"dropout.rate": "checkpoint"}}, rate=0.5)
    history, _ = begun(decision, rate=0.5)
    assert history.epoch == [0, 1]
    (change,) = journal_events(run, "hyperparameter_changed")
    assert (change.name, change.then, change.now) == ("dropout.rate", "0.1", "0.5")
    # The run has the new value from then on, and the decision may stay in the script.
    assert begun({"epochs": 3}, rate=0.5)[0].epoch == [0, 1, 2]
    with trainings.logged() as lines:
        assert begun({"epochs": 4, **decision}, rate=0.5)[0].epoch == [0, 1, 2, 3]
    assert not [line for line in lines if "no hyperparameter" in line]


def test_the_new_setting_is_trained_with(trainings, run, begun):
    _, changed = begun({"changed": {"dropout.rate": "code"}}, rate=0.5)
    trainings.fit(run.with_name("whole"), whole := model(trainings))
    assert trainings.bits(changed) != trainings.bits(whole)


def test_the_same_change_of_many_layers_is_one_line(trainings, run):
    def deep(rate):
        keras = trainings.keras
        keras.utils.set_random_seed(3)
        made = keras.Sequential(
            [
                keras.Input((4,)),
                *(keras.layers.Dropout(rate) for _ in range(5)),
                keras.layers.Dense(1),
            ]
        )
        made.compile("adam", "mse")
        return made

    trainings.interrupted(run, deep(0.1))
    with pytest.raises(ckptkit.ConfigError) as caught:
        trainings.fit(run, deep(0.2))
    assert "  *.rate (5 layers): the run has 0.1, the code says 0.2\n" in str(caught.value)
    assert "changed={'*.rate': 'code'}" in str(caught.value)
    assert trainings.fit(run, deep(0.2), changed={"*.rate": "code"}).epoch == [0, 1]


def test_a_setting_that_a_callback_moves_is_no_change(trainings, run):
    def curriculum(made):
        return trainings.after(1, lambda: setattr(made.layers[1], "rate", 0.4))

    made = model(trainings)
    trainings.interrupted(run, made, curriculum(made), batches=3)
    # In this process, with the model as the callback has left it; and as in a new one.
    trainings.interrupted(run, made, batches=2)
    again = model(trainings)
    assert trainings.fit(run, again, curriculum(again)).epoch == [0, 1]


def test_what_differs_in_each_build_is_no_change(trainings, run):
    """Automatic names, names that a program numbers on, and seeds."""
    numbers = itertools.count()
    keras = trainings.keras

    def made():
        keras.utils.set_random_seed(3)
        inputs = keras.Input((4,))
        x = keras.layers.Dense(3, "relu", name=f"block_{next(numbers)}")(inputs)
        x = keras.layers.Dropout(0.1, seed=next(numbers))(x) + x
        outputs = keras.layers.Dense(
            1, kernel_initializer=keras.initializers.HeNormal(next(numbers))
        )(x)
        made = keras.Model(inputs, outputs)
        made.compile("adam", "mse")
        return made

    trainings.interrupted(run, made())
    assert trainings.fit(run, made()).epoch == [0, 1]


def test_models_of_a_loop_are_compared(trainings, run):
    keras = trainings.keras

    def manager(rate, **options):
        def net():
            return keras.Sequential([keras.Input((4,)), keras.layers.LeakyReLU(rate)])

        return ckptkit.CheckpointManager(
            run, {"generator": net(), "critic": net()}, background=False, **options
        )

    with manager(0.1) as first:
        assert list(first.steps(2)) == [1, 2]
    process_registry.state.finished.clear()
    with (
        pytest.raises(
            ckptkit.ConfigError,
            match=r"critic/leaky_re_lu\.negative_slope: the run has 0\.1, the code says 0\.3",
        ),
        manager(0.3),
    ):
        raise AssertionError("it was opened")
    changed = {"*.negative_slope": "code"}
    process_registry.state.finished.clear()
    with manager(0.3, changed=changed) as second:
        assert list(second.steps(3)) == [3]


def test_an_architecture_that_cannot_be_read_costs_no_resume(trainings, run):
    trainings.interrupted(run, model(trainings))
    (file,) = (run / "architecture").iterdir()
    file.write_bytes(b"{}")
    with trainings.logged() as lines:
        assert trainings.fit(run, model(trainings, rate=0.5)).epoch == [0, 1]
    assert any("settings of layers" in line and "not compared" in line for line in lines)


def test_a_run_of_an_earlier_version_has_no_settings_and_resumes(trainings, run):
    trainings.interrupted(run, model(trainings))
    (file,) = (run / "architecture").iterdir()
    content = json.loads(file.read_text())
    assert [layer["path"] for layer in content.pop("layers")] == ["", "dense", "dropout", "dense_1"]
    older = json.dumps(content).encode()
    name = architecture_file.file_name(older)
    (run / "architecture" / name).write_bytes(older)
    found = architecture_file.load(RunLayout(run), name)
    assert found.class_name == "Sequential"
    assert found.layers == ()
    assert compare_layers(found.layers, (), "model").now == {}


def test_a_notebook_that_builds_its_model_again_asks_for_more_epochs(trainings, run):
    trainings.fit(run, model(trainings))
    again = model(trainings)
    assert trainings.fit(run, again, epochs=4, same_process=True).epoch == [0, 1, 2, 3]
    whole = model(trainings)
    trainings.fit(run.with_name("whole"), whole, epochs=4)
    assert trainings.bits(again) == trainings.bits(whole)
    with pytest.raises(ckptkit.ConfigError, match="another model object"):
        trainings.fit(run, model(trainings), epochs=4, same_process=True)
    with pytest.raises(ckptkit.ConfigError, match=r"dropout\.rate"):
        trainings.fit(run, model(trainings, rate=0.3), epochs=6, same_process=True)
