"""A model that training itself changes: LoRA, quantization, dtype policies, `compile` again.

A resume changes the new process's model in the same way, and continues with the same bits.
"""

from __future__ import annotations

import itertools
import random
import signal

import pytest

import ckptkit
from tests.support.spread import spread

CHANGED, IN_LOOP = (
    f"tests.keras.structure_programs:{each}" for each in ("changed", "changed_in_loop")
)


def killed_twice(tf_call, run, seed, kind, kills, *options):
    """Return what a run ends with that is killed after some steps of its attempts."""
    for kill in kills:
        process = tf_call(CHANGED, str(run), seed, kind, kill, *options)
        assert process.wait() == -signal.SIGKILL, process.output()
    return tf_call(CHANGED, str(run), seed, kind, 0, *options).check().result


@pytest.mark.parametrize(
    "kind",
    spread(
        ["lora", "clipnorm", "rate", "quantize", "loss weights", "loss", "policy", "no new step"], 3
    ),
)
def test_a_model_changed_by_a_callback(tf_call, run, seed, kind):
    """Killed before the change or in its epoch, and once more in the epoch after it."""
    first = random.Random(seed).randint(3, 8)
    whole = tf_call(CHANGED, str(run.with_name("whole")), seed, kind).check().result
    resumed = killed_twice(tf_call, run, seed, kind, (first, 11 - first))
    assert resumed == whole


@pytest.mark.parametrize("kind", spread(["lora", "clipnorm", "loss"], 3))
def test_a_state_between_compile_and_the_next_step(tf_call, run, seed, kind):
    """The state of step 4 is saved after the change; the new optimizer has made no step then."""
    whole = tf_call(CHANGED, str(run.with_name("whole")), seed, kind).check().result
    assert killed_twice(tf_call, run, seed, kind, (5, 6)) == whole


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "batch"),
    # After the last batch of an epoch, `compile` would remove the metrics that Keras reads.
    [
        *itertools.product(["lora", "quantize", "policy", "loss weights", "rate"], [0, 2]),
        ("quantize", 3),
        ("policy", 3),
    ],
)
def test_a_model_changed_after_a_batch(tf_call, run, seed, kind, batch):
    first = random.Random(seed).randint(5 + batch, 9)
    whole = tf_call(CHANGED, str(run.with_name("whole")), seed, kind, 0, batch).check().result
    resumed = killed_twice(tf_call, run, seed, kind, (first, 11 - first), batch)
    assert resumed == whole


def test_a_loss_that_only_the_program_can_make(tf_call, run, seed):
    """It is named before the first step, and is an error if exactness is required."""
    tf_call(CHANGED, str(run), seed, "another loss", 10).wait()
    required = tf_call(CHANGED, str(run), seed, "another loss")
    assert required.wait() == 1
    said = "training has changed loss of model 'sequential' to _own_loss, which is not restored"
    assert said in required.stderr
    assert "ConfigError" in required.stderr
    warned = tf_call(CHANGED, str(run), seed, "another loss", 0, None, "warn").check()
    assert warned.stderr.count(said) == 1
    assert warned.stderr.index(said) < warned.stderr.index("resumed from")


def test_a_layer_that_is_not_built_yet(tf_call, run, seed):
    """It cannot be changed before the first step; the error says what to do."""
    options = (None, "require", False)
    tf_call(CHANGED, str(run), seed, "lora", 10, *options).wait()
    resumed = tf_call(CHANGED, str(run), seed, "lora", 0, *options)
    assert resumed.wait() == 1
    assert "IncompatibleStateError: Training has changed layer 'first'" in resumed.stderr
    assert "LoRA of rank 2" in resumed.stderr
    assert "Build the model before training (with keras.Input)" in resumed.stderr


@pytest.mark.parametrize("kind", spread(["policy", "clipnorm", "quantize", "loss weights"], 2))
def test_a_model_changed_in_a_loop(tf_call, run, seed, kind):
    whole = tf_call(IN_LOOP, str(run.with_name("whole")), seed, kind).check().result
    process = tf_call(IN_LOOP, str(run), seed, kind, random.Random(seed).randint(5, 8))
    assert process.wait() == -signal.SIGKILL, process.output()
    assert tf_call(IN_LOOP, str(run), seed, kind).check().result == whole


def test_lora_in_a_loop_whose_optimizer_is_already_built(tf_call, run, seed):
    """The optimizer in the run belongs to other weights; the error says so, and what to do."""
    tf_call(IN_LOOP, str(run), seed, "lora", 6).wait()
    resumed = tf_call(IN_LOOP, str(run), seed, "lora")
    assert resumed.wait() == 1
    assert "Training has changed layers of this run: layer 'first' had LoRA" in resumed.stderr
    assert "before its optimizer is built" in resumed.stderr


def test_a_train_step_with_an_optimizer_of_its_own(trainings, run):
    """What `compile` made and the train step never uses stays unbuilt, and is not missed."""
    keras, tf = trainings.keras, trainings.tf

    class Own(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean((self(x) - y) ** 2)
            variables = self.trainable_variables
            self.own.apply(tape.gradient(loss, variables), variables)
            return {"loss": loss}

    def made():
        keras.utils.set_random_seed(3)
        model = Own([keras.Input((4,)), keras.layers.Dense(1)])
        model.own = keras.optimizers.Adam(0.05)
        model.own.build(model.trainable_variables)
        model.compile("sgd")
        return model

    def train(directory, model, *callbacks):
        ours = ckptkit.CheckpointCallback(
            directory, save=ckptkit.EveryNSteps(1), background=False, export=False, exact="require"
        )
        trainings.start_again()
        model.fit(trainings.data(), epochs=2, verbose=0, callbacks=[*callbacks, ours])
        return trainings.bits(model, model.own)

    whole = train(run.with_name("whole"), made())
    with pytest.raises(trainings.StopError):
        train(run, made(), trainings.after(6))
    assert train(run, made()) == whole
