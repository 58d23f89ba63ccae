"""What a new user gets wrong, as one table: each mistake ends in a line that says what to do."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.session import process_registry

X, Y = np.ones((8, 4), "float32"), np.zeros((8, 1), "float32")

MISTAKES: dict[str, tuple[str, Callable[[Path], object]]] = {}


def mistake(line: str) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    """Add a function to the table, with a pattern for the line that it has to end in."""

    def add(function: Callable[[Path], object]) -> Callable[[Path], object]:
        MISTAKES[function.__name__.replace("_", " ")] = line, function
        return function

    return add


def model(*, rate: float = 0.1, optimizer: Any = "sgd", units: int = 1) -> keras.Model:
    keras.utils.set_random_seed(3)
    made = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dropout(rate), keras.layers.Dense(units)]
    )
    made.compile(optimizer, "mse")
    return made


def manager(run: Path, state: Any = None, **options: Any) -> ckptkit.CheckpointManager:
    state = {"weight": tf.Variable(1.0)} if state is None else state
    return ckptkit.CheckpointManager(run, state, background=False, **options)


def fit(run: Any, made: Any = None, *others: Any, epochs: int = 1, **options: Any) -> Any:
    callback = run
    if isinstance(run, Path):
        callback = ckptkit.CheckpointCallback(run, export=False, background=False, **options)
    made = made or model()
    return made.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, callbacks=[*others, callback])


def trained(run: Path, made: Any = None) -> Path:
    """Train a run to its end, as an earlier process."""
    fit(run, made or model())
    process_registry.state.finished.clear()
    process_registry.state.trained_to.clear()
    return run


def looped(run: Path, steps: int = 2) -> Path:
    """Run a loop to its end, as an earlier process."""
    with manager(run, save=ckptkit.EveryNSteps(1), keep=ckptkit.KeepLatest(9)) as opened:
        for _ in opened.steps(steps):
            pass
    process_registry.state.finished.clear()
    return run


# -- arguments


@mistake(r"missing a required argument: 'directory'")
def no_directory(run):
    ckptkit.CheckpointCallback()


@mistake(r"A run directory is a path\. Received: None")
def a_directory_that_is_none(run):
    ckptkit.CheckpointCallback(None)


@mistake(r"A run directory is a path\. Received: ''")
def an_empty_name(run):
    ckptkit.CheckpointCallback("")


@mistake(r"\$NO_SUCH_SCRATCH, which is not set.*or write the directory itself")
def an_environment_variable_that_is_not_set(run):
    ckptkit.CheckpointCallback(run / "$NO_SUCH_SCRATCH" / "a")


@mistake(r"\{fold\} literally.*f-string")
def an_f_that_is_missing(run):
    ckptkit.CheckpointCallback(run / "fold-{fold}")


@mistake(r"\{trial\} in a directory is for CheckpointCallback.*f'runs/\{name\}'")
def the_place_of_a_trial_in_a_loop(run):
    manager(run / "{trial}")


@mistake(r"got an unexpected keyword argument 'keep_last'")
def an_option_of_another_name(run):
    ckptkit.CheckpointCallback(run, keep_last=3)


@mistake(r"save is a policy, such as ckptkit\.EveryNSteps\(500\)\. Received: save=500")
def a_number_for_a_save_policy(run):
    ckptkit.CheckpointCallback(run, save=500)


@mistake(r"keep is a policy, such as ckptkit\.KeepLatest\(2\)\. Received: keep=3")
def a_number_for_a_keep_policy(run):
    ckptkit.CheckpointCallback(run, keep=3)


@mistake(r"save is a policy, such as ckptkit\.EveryNSteps")
def the_policies_exchanged(run):
    ckptkit.CheckpointCallback(run, save=ckptkit.KeepLatest(2), keep=ckptkit.EveryNSteps(5))


@mistake(r"save is a policy.*Received: save=<class")
def a_class_for_a_policy(run):
    ckptkit.CheckpointCallback(run, save=ckptkit.EveryNSteps)


@mistake(r"\|")
def or_between_two_policies(run):
    ckptkit.EveryNSteps(5) or ckptkit.EveryNSeconds(60)


@mistake(r"n .*Received: .*0")
def every_0_steps(run):
    ckptkit.EveryNSteps(0)


@mistake(r"n .*Received: .*2\.5")
def every_two_and_a_half_steps(run):
    ckptkit.EveryNSteps(2.5)


@mistake(r"n .*Received: .*'100'")
def a_text_for_a_number(run):
    ckptkit.EveryNSteps("100")


@mistake(r"n .*Received: .*True")
def a_truth_value_for_a_number(run):
    ckptkit.KeepLatest(True)


@mistake(r"secs.*Received: .*-5")
def a_negative_time(run):
    ckptkit.EveryNSeconds(-5)


@mistake(r"mode='min'.*mode='max'|mode.*'min' or 'max'|mode.*\"min\" or \"max\"")
def a_metric_without_a_direction(run):
    fit(run, None, save=ckptkit.OnBest("my_score"))


@mistake(r"mode.*Received: .*'lower'")
def a_direction_of_another_name(run):
    ckptkit.KeepBest("val_loss", mode="lower")


@mistake(r"changed=\{'learning_rate': 'code'\}.*Received: changed='code'")
def a_decision_without_a_name(run):
    ckptkit.CheckpointCallback(run, changed="code")


@mistake(r"changed=\{'learning_rate': 'code'\}.*Received: changed=\{'learning_rate': 'new'\}")
def a_decision_of_another_name(run):
    ckptkit.CheckpointCallback(run, changed={"learning_rate": "new"})


@mistake(r"hparams is a dictionary")
def hparams_that_are_a_list(run):
    ckptkit.CheckpointCallback(run, hparams=[("depth", 3)])


@mistake(r"hparams\['model'\] is recorded as JSON: numbers, strings")
def hparams_that_are_objects(run):
    ckptkit.CheckpointCallback(run, hparams={"model": object()})


@mistake(r"Expected 'warn', 'require'.*Received: exact=True")
def exact_is_true(run):
    ckptkit.CheckpointCallback(run, exact=True)


@mistake(r"Expected 'auto', 'full'.*Received: verify=True")
def verify_is_true(run):
    ckptkit.CheckpointCallback(run, verify=True)


@mistake(r"fresh is a label, such as 'second-try'.*Received: fresh=True")
def fresh_is_true(run):
    ckptkit.CheckpointCallback(run, fresh=True)


@mistake(r"background=True.*Received: background='thread'")
def background_is_a_text(run):
    ckptkit.CheckpointCallback(run, background="thread")


@mistake(r"SIGKILL")
def a_signal_that_cannot_be_caught(run):
    ckptkit.Preemption(signals=("SIGKILL",))


@mistake(r"grace_secs.*Received: .*-1")
def a_negative_grace(run):
    ckptkit.Preemption(grace_secs=-1)


@mistake(r"options belong to the manager.*keep")
def options_beside_a_manager(run):
    ckptkit.CheckpointCallback(manager(run), keep=ckptkit.KeepLatest(2))


# -- the state of a loop


@mistake(r"missing a required argument: 'state'")
def no_state(run):
    ckptkit.CheckpointManager(run)


@mistake(r"as in state=\{'model': model\}\. Received: <Sequential")
def a_model_for_the_state(run):
    manager(run, model())


@mistake(r"as in state=\{'model': model\}\. Received: \{\}")
def an_empty_state(run):
    manager(run, {})


@mistake(r"state\['data'\] is .*batches = iter\(dataset\)")
def a_dataset_in_the_state(run):
    manager(run, {"data": tf.data.Dataset.range(3)})


@mistake(r"state\['x'\] is .*Expected a Keras model.*tf\.Variable")
def a_tensor_in_the_state(run):
    manager(run, {"x": tf.constant(1.0)})


@mistake(r"state\['net'\] is the class .*Expected a Keras model")
def a_class_in_the_state(run):
    manager(run, {"net": keras.Sequential})


@mistake(r"letters, digits, '_' and '-'.*Received: 'my net'")
def a_name_with_a_space(run):
    manager(run, {"my net": tf.Variable(1.0)})


@mistake(r"none of .*Received: 'fit'")
def a_name_that_is_taken(run):
    manager(run, {"fit": tf.Variable(1.0)})


@mistake(r"has no variables yet.*Build it first: call it once on a batch")
def a_model_that_is_not_built(run):
    with manager(run, {"model": keras.Sequential([keras.layers.Dense(1)])}):
        pass


# -- loops


@mistake(r"The run is not open\. Use the manager inside `with manager:`")
def a_loop_before_with(run):
    list(manager(run).steps(3))


@mistake(r"The run is not open\. Use the manager inside `with manager:`")
def a_save_after_the_end(run):
    with manager(run) as opened:
        pass
    opened.save(1)


@mistake(r"training batches since the run began.*0 or more.*Received: step=-1")
def a_negative_step(run):
    with manager(run) as opened:
        opened.save(-1)


@mistake(r"training batches since the run began.*0 or more.*Received: step='3'")
def a_step_that_is_a_text(run):
    with manager(run) as opened:
        opened.save("3")


@mistake(r"The run is at step 5\. Received: 1\. .*position")
def a_step_that_goes_back(run):
    with manager(run) as opened:
        opened.save(5)
        opened.save(1)


@mistake(r"manager\.steps\(total\).*a whole number of 0 or more.*Received: 10\.5")
def a_total_with_a_fraction(run):
    with manager(run) as opened:
        opened.steps(10.5)


@mistake(r"`for epoch in manager\.epochs\(\.\.\.\)` it would train nothing.*manager\.data")
def a_loop_over_steps_in_a_loop_over_epochs(run):
    with manager(run) as opened:
        for _ in opened.epochs(2):
            for _ in opened.steps(3):
                pass


@mistake(r"manager\.data\(")
def epochs_over_a_plain_dataset(run):
    counter = keras.optimizers.SGD()
    weight = keras.Variable(1.0)
    counter.build([weight])
    with manager(run, {"optimizer": counter}) as opened:
        for _ in opened.epochs(2):
            for _ in tf.data.Dataset.range(3):
                counter.apply([tf.constant(1.0)], [weight])


@mistake(r"EveryNEpochs\(n=1.*\) is never due in manager\.steps.*Use ckptkit\.EveryNSteps\(n\)")
def a_policy_of_epochs_in_a_loop_over_steps(run):
    with manager(run, save=ckptkit.EveryNEpochs(1)) as opened:
        for _ in opened.steps(3):
            pass


@mistake(r"inside a tf\.function.*Call it between two steps")
def a_save_in_a_tf_function(run):
    with manager(run) as opened:
        tf.function(lambda: opened.save(1))()


@mistake(r"'accuracy'.*loss")
def a_monitor_that_never_appears(run):
    with manager(run, save=ckptkit.OnBest("accuracy")) as opened:
        for _ in opened.steps(3):
            opened.log(loss=1.0)


@mistake(r"takes 1 positional argument but 2 were given")
def a_metric_without_a_name(run):
    with manager(run) as opened:
        for _ in opened.steps(2):
            opened.log(0.5)


@mistake(r"model\.fit opens.*Call fit outside of `with manager:`")
def fit_inside_with(run):
    made = model()
    with manager(run, {"model": made}) as opened:
        fit(ckptkit.CheckpointCallback(opened), made)


# -- directories


@mistake(r"is a file; a run needs a directory there.*or name another directory")
def a_file_for_a_directory(run):
    run.write_text("")
    with manager(run):
        pass


@mistake(r"holds checkpoints of TensorFlow.*Name another directory.*load_weights")
def the_directory_of_tensorflows_manager(run):
    checkpoint = tf.train.Checkpoint(weight=tf.Variable(1.0))
    tf.train.CheckpointManager(checkpoint, str(run), 3).save()
    with manager(run):
        pass


@mistake(r"holds a backup of keras\.callbacks\.BackupAndRestore.*Name another directory")
def the_directory_of_a_keras_backup(run):
    class Killed(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("killed")

    backup = keras.callbacks.BackupAndRestore(run, save_freq=1)
    with pytest.raises(RuntimeError):
        model().fit(X, Y, batch_size=4, verbose=0, callbacks=[backup, Killed()])
    fit(run)


@mistake(r"holds saved models or weights \(1\.keras\).*Name another directory.*load_weights")
def the_directory_of_saved_models(run):
    saved = keras.callbacks.ModelCheckpoint(run / "{epoch}.keras")
    model().fit(X, Y, verbose=0, callbacks=[saved])
    fit(run)


@mistake(r"is one checkpoint of a run.*Name the run itself")
def a_checkpoint_for_its_run(run):
    looped(run)
    with manager(run / "checkpoints" / "ckpt-2-1"):
        pass


@mistake(r"is the directory of checkpoints of a run.*Name the run itself")
def checkpoints_for_their_run(run):
    looped(run)
    with manager(run / "checkpoints"):
        pass


@mistake(r"holds runs \(a, b\).*Name one of them, or a new one")
def all_runs_for_one(run):
    looped(run / "a")
    looped(run / "b")
    with manager(run):
        pass


@mistake(r"already holds other files \(photos\).*Nothing was written.*Name a directory in it")
def a_directory_with_photos(run):
    (run / "photos").mkdir(parents=True)
    (run / "photos" / "1.png").touch()
    with manager(run):
        pass


# -- looking at a run


@mistake(r"contains no checkpoint|no checkpoint")
def a_restore_of_a_run_that_is_not_there(run):
    manager(run).restore()


@mistake(r"999.*\b1\b.*\b2\b|steps?.*1, 2")
def a_restore_of_a_step_that_is_not_there(run):
    manager(looped(run)).restore(step=999)


@mistake(r"no run|not a run|is no directory|does not exist|holds no")
def a_run_that_is_misspelled(run):
    ckptkit.open_run(run.with_name("rnu"))


@mistake(r"'bets'.*(latest|best)")
def a_checkpoint_that_is_misspelled(run):
    ckptkit.open_run(looped(run)).find("bets")


@mistake(r"rnu")
def weights_that_are_not_there(run):
    ckptkit.load_weights(model(), run.with_name("rnu"))


# -- fit


@mistake(r"works in model\.fit.*callbacks=\[\.\.\., CheckpointCallback\(\.\.\.\)\]")
def the_callback_called_by_hand(run):
    callback = ckptkit.CheckpointCallback(run)
    callback.set_model(model())
    callback.on_train_begin()


@mistake(r"one CheckpointCallback.*[Kk]eep one of them")
def two_callbacks(run):
    fit(run, None, ckptkit.CheckpointCallback(run.with_name("second"), export=False))


@mistake(r"Delete BackupAndRestore\(\.\.\.\) from callbacks")
def a_keras_backup_beside_ours(run):
    fit(run, None, keras.callbacks.BackupAndRestore(run.with_name("backup")))


@mistake(r"just finished the run.*epochs=epoch \+ 1")
def fit_in_a_loop_over_epochs(run):
    made = model()
    for _ in range(2):
        fit(run, made)


@mistake(r"with another model object.*its own directory")
def folds_in_one_directory(run):
    for _ in range(2):
        fit(run)


@mistake(r"with another model object.*\{trial\}")
def a_tuner_that_copies_the_callback(run):
    callback = ckptkit.CheckpointCallback(run, export=False)
    for _ in range(2):
        fit(copy.deepcopy(callback))


@mistake(r"this run has finished.*pass larger epochs")
def a_finished_run_that_is_started_again(run):
    fit(trained(run))


@mistake(
    r"Choose the value that counts, changed=\{'learning_rate': 'code' or 'checkpoint'\}; or restore"
)
def another_learning_rate(run):
    trained(run, model(optimizer=keras.optimizers.SGD(0.1)))
    fit(run, model(optimizer=keras.optimizers.SGD(0.2)), epochs=2)


@mistake(r"Choose the value that counts, changed=\{'dropout\.rate': 'code'\}; or restore the value")
def another_dropout_rate(run):
    fit(trained(run), model(rate=0.5), epochs=2)


@mistake(r"trained with the optimizer SGD; the model now has Adam.*name another directory")
def another_optimizer(run):
    fit(trained(run), model(optimizer="adam"), epochs=2)


@mistake(r"Build the model and optimizer as they were.*or name another directory")
def a_wider_layer(run):
    fit(trained(run), model(units=3), epochs=2)


@mistake(r"trainable has changed.*name another directory")
def a_frozen_layer(run):
    made = model()
    made.layers[-1].trainable = False
    made.compile("sgd", "mse")
    fit(trained(run), made, epochs=2)


@mistake(r"changed.*'lerning_rate'.*names: .* learning_rate")
def a_decision_about_a_name_that_is_misspelled(run):
    fit(run, None, changed={"lerning_rate": "code"})


@mistake(r"val_loss.*validation|val_loss.*never|'val_loss'")
def a_monitor_without_validation_data(run):
    fit(run, None, save=ckptkit.OnBest("val_loss") | ckptkit.EveryNEpochs(1))


# -- the test


@contextmanager
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("ckptkit")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_in_a_line_that_says_what_to_do(tmp_path, name):
    line, function = MISTAKES[name]
    with logged() as lines:
        try:
            function(tmp_path / "run")
        except Exception as error:  # one in a tf.function is wrapped into another
            lines += str(error).splitlines()
    found = [each for each in lines if re.search(line, each)]
    assert len(found) == 1, f"no such line, or several, in\n{chr(10).join(lines) or 'nothing'}"


def test_there_are_at_least_fifty():
    assert len(MISTAKES) >= 50
