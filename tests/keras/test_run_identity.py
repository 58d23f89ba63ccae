"""A run is one training of one model: another training is refused, and the same one resumes."""

from __future__ import annotations

import copy
import pickle

import pytest

import ckptkit
from tests.keras.conftest import journal_events


def test_a_fold_loop_over_one_directory(trainings, run):
    trainings.fit(run)
    done = [checkpoint.name for checkpoint in ckptkit.open_run(run).checkpoints]
    second = trainings.model(seed=8)
    before = trainings.bits(second)
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"already finished the run .* with another model object.*its own directory.*fresh=",
    ):
        trainings.fit(run, second)
    assert trainings.bits(second) == before, "never old weights in a new experiment"
    assert [checkpoint.name for checkpoint in ckptkit.open_run(run).checkpoints] == done
    assert journal_events(run, "failed")[0].restart is False
    third = trainings.model(seed=9)
    history = trainings.fit(run.with_name("run-2"), third)
    assert history.epoch == [0, 1]


def test_a_copied_callback_of_a_tuner(trainings, run):
    callback = ckptkit.CheckpointCallback(run, export=False)
    trainings.fit(copy.deepcopy(callback))
    with pytest.raises(ckptkit.ConfigError, match="with another model object"):
        trainings.fit(copy.deepcopy(callback), trainings.model(seed=8))


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, copy.copy, lambda value: pickle.loads(pickle.dumps(value))],
    ids=["deepcopy", "copy", "pickle"],
)
def test_copies_of_a_callback(trainings, run, duplicate):
    callback = ckptkit.CheckpointCallback(run, export=False, keep=ckptkit.KeepLatest(3))
    tried = []

    def try_it():
        with pytest.raises(
            ckptkit.ConfigError,
            match=r"in use by a fit.*cannot be copied or pickled.*Copy it before fit",
        ):
            duplicate(callback)
        tried.append(True)

    made = trainings.model()
    twin = duplicate(callback)
    assert trainings.fit(callback, made, trainings.after(3, try_it), epochs=1).epoch == [0]
    assert tried
    assert trainings.fit(twin, made, epochs=2).epoch == [0, 1]
    assert trainings.fit(duplicate(callback), made, epochs=3).epoch == [0, 1, 2], (
        "after its fit it can be copied again"
    )


def test_copies_of_a_manager(trainings, run):
    manager = ckptkit.CheckpointManager(
        run,
        {"weight": trainings.tf.Variable(1.0)},
        save=ckptkit.EveryNSteps(9),  # the end is the only save, however slow the machine is
        keep=ckptkit.KeepLatest(3),
    )
    twin = copy.copy(manager)
    with manager:
        for duplicate in (copy.deepcopy, copy.copy, pickle.dumps):
            with pytest.raises(
                ckptkit.ConfigError, match=r"has the run in .* open.*cannot be copied or pickled"
            ):
                duplicate(manager)
        assert not twin.is_open
    with twin:
        assert list(twin.steps(2)) == [1, 2]
    assert manager.all_steps == [2]


def test_a_finished_training_that_is_interrupted_in_its_export_is_run_again(trainings, run):
    """As a cell of a notebook, which makes its model anew."""

    def interrupted(x):
        raise KeyboardInterrupt

    tf = trainings.tf
    serve = tf.function(interrupted, input_signature=[tf.TensorSpec((None, 4))])
    with pytest.raises(KeyboardInterrupt):
        trainings.fit(run, export=ckptkit.ExportSpec(signatures={"serve": serve}))
    assert [event.outcome for event in journal_events(run, "attempt_ended")] == ["finished"]
    assert trainings.fit(run, export=True).epoch == [0, 1]
    assert len(journal_events(run, "exported")) == 1


def test_a_loop_over_epochs_with_epochs_1_is_an_error_that_says_how(trainings, run):
    """The second `fit` would load what the first one has trained, and train nothing."""
    made = trainings.model()
    assert trainings.fit(run, made, epochs=1).epoch == [0]
    before = trainings.bits(made, made.optimizer)
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"just finished the run .* 1 epochs are done, and epochs=1 would train nothing.*"
        r"epochs=epoch \+ 1.*fresh=.*another directory",
    ):
        trainings.fit(run, made, epochs=1, same_process=True)
    assert trainings.bits(made, made.optimizer) == before
    assert trainings.fit(run, made, epochs=2, same_process=True).epoch == [0, 1], (
        "a larger total trains on"
    )
    assert trainings.fit(run, made, epochs=2, fresh="again").epoch == [0, 1]
    with pytest.raises(ckptkit.ConfigError, match="just finished"):
        trainings.fit(run, made, epochs=2, fresh="again", same_process=True)


def test_a_restart_does_not_turn_that_error_into_success(trainings, run):
    """A loop that has failed is started again, as a container does until it ends with 0."""
    trainings.fit(run, epochs=1)
    trainings.start_again()
    made = trainings.model()
    assert trainings.fit(run, made, epochs=1).epoch == [0], "the first fit gets the weights"
    with pytest.raises(ckptkit.ConfigError, match=r"just finished the run .*epochs=epoch \+ 1"):
        trainings.fit(run, made, epochs=1, same_process=True)


def test_a_restarted_loop_over_growing_epochs_continues(trainings, run):
    trainings.fit(run, epochs=2)
    trainings.start_again()
    made = trainings.model()
    for epoch in range(3):
        history = trainings.fit(run, made, epochs=epoch + 1, same_process=True)
    assert history.epoch == [0, 1, 2]
    assert int(made.optimizer.iterations) == 3 * trainings.STEPS


def test_fit_three_times_on_the_same_model(trainings, run):
    made = trainings.model()
    histories, values = [], []
    with trainings.logged() as lines:
        for _ in range(3):
            histories.append(trainings.fit(run, made, epochs=5, export=True))
            values.append(trainings.bits(made, made.optimizer))
    assert [history.epoch for history in histories] == [[0, 1, 2, 3, 4]] * 3
    assert histories[0].history == histories[1].history == histories[2].history
    assert values[0] == values[1] == values[2]
    assert len(journal_events(run, "exported")) == 1
    assert [event.step for event in journal_events(run, "finished")] == [5 * trainings.STEPS]
    said = [line for line in lines if "this run has finished" in line]
    assert len(said) == 2
    assert all(word in said[0] for word in ("larger epochs", "fresh=", "another directory"))


def test_a_finished_run_in_a_new_process_gives_weights_and_history(tf_call, run):
    first = (
        tf_call("tests.keras.training_programs:train", {"run": str(run), "export": True})
        .check()
        .result
    )
    second = tf_call(
        "tests.keras.training_programs:train", {"run": str(run), "export": True, "seed": 8}
    ).check()
    assert second.result == {**first, "batches": 0}
    assert "this run has finished" in second.stderr
    assert len(list((run / "export").iterdir())) == 1


def test_two_phases_in_one_directory(trainings, run):
    made = trainings.model()
    made.layers[0].trainable = False
    made.compile("adam", "mse")
    trainings.fit(run, made)
    before = trainings.bits(made)
    made.layers[0].trainable = True
    made.compile("adam", "mse")
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"(?s)trainable has changed for 2 of 4.*second training phase needs its own "
        r"run.*another dir",
    ):
        trainings.fit(run, made, epochs=4)
    made.layers[0].trainable = False
    made.compile("sgd", "mse")
    with pytest.raises(
        ckptkit.ConfigError,
        match=r"trained with the optimizer Adam; the model now has SGD.*another directory",
    ):
        trainings.fit(run, made, epochs=4)
    assert trainings.bits(made) == before


@pytest.mark.parametrize("phase", [1, 2])
def test_two_phases_in_two_directories_killed_in_one(tf_call, tmp_path, phase):
    whole = (
        tf_call("tests.keras.training_programs:two_phases", str(tmp_path / "whole"), 0)
        .check()
        .result
    )
    tf_call("tests.keras.training_programs:two_phases", str(tmp_path / "killed"), phase).check(
        code=-9
    )
    again = (
        tf_call("tests.keras.training_programs:two_phases", str(tmp_path / "killed"), 0)
        .check()
        .result
    )
    assert again == whole
    for number in (1, 2):
        assert [
            event.step for event in journal_events(tmp_path / "killed" / str(number), "finished")
        ] == [8]
        assert len(journal_events(tmp_path / "killed" / str(number), "restored")) == (
            phase == number or number < phase
        )


def test_backup_and_restore_beside_ours(trainings, run, tmp_path):
    for order in (1, -1):
        callbacks = [
            trainings.keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            ckptkit.CheckpointCallback(run),
        ][::order]
        with pytest.raises(
            ckptkit.ConfigError, match=r"Delete BackupAndRestore\(\.\.\.\) from callbacks"
        ):
            trainings.model().fit(trainings.data(), shuffle=False, verbose=0, callbacks=callbacks)
    assert not run.exists()


def test_a_preset_initial_epoch_on_a_new_run(trainings, run):
    options = {"fit_options": {"initial_epoch": 2}, "epochs": 4}
    whole, made = trainings.model(), trainings.model()
    expected = trainings.fit(run.with_name("whole"), whole, **options)
    assert expected.epoch == [2, 3]
    trainings.interrupted(run, batches=6, **options)
    with trainings.logged() as lines:
        history = trainings.fit(run, made, **options)
    assert history.history == expected.history
    assert trainings.bits(made) == trainings.bits(whole)
    assert [event.epoch for event in journal_events(run, "finished")] == [4]
    (said,) = [line for line in lines if "initial_epoch=2" in line]
    assert "epoch 3" in said


def test_a_preset_initial_epoch_on_a_run_that_is_elsewhere(trainings, run):
    trainings.interrupted(run, batches=6, epochs=4)
    with trainings.logged() as lines:
        history = trainings.fit(run, epochs=4, fit_options={"initial_epoch": 3})
    assert history.epoch == [0, 1, 2, 3]
    (said,) = [line for line in lines if "initial_epoch=3" in line]
    assert "epoch 1" in said


def test_a_model_that_was_trained_before(trainings, run):
    trainings.interrupted(run, batches=6)
    made = trainings.model()
    made.fit(trainings.data(), epochs=3, shuffle=False, verbose=0)
    with trainings.logged() as lines:
        trainings.fit(run, made)
    (said,) = [line for line in lines if "iterations" in line]
    assert "12 iterations" in said
    assert "step 5" in said
    whole = trainings.model()
    trainings.fit(run.with_name("whole"), whole)
    assert trainings.bits(made, made.optimizer) == trainings.bits(whole, whole.optimizer)


def test_a_new_run_of_a_model_that_was_trained_before_logs_no_warning(trainings, run):
    made = trainings.model()
    made.fit(trainings.data(), epochs=3, shuffle=False, verbose=0)
    with trainings.logged() as lines:
        trainings.fit(run, made)
    assert not [line for line in lines if "iterations" in line]
    assert [event.step for event in journal_events(run, "finished")] == [8]


def test_evaluate_and_predict_do_nothing(trainings, run):
    callback = ckptkit.CheckpointCallback(run)
    made = trainings.model()
    made.evaluate(*trainings.rows(), verbose=0, callbacks=[callback])
    made.predict(trainings.rows()[0], verbose=0, callbacks=[callback])
    assert not run.exists()
    trainings.fit(callback, made)
    journal = ckptkit.open_run(run).journal
    made.evaluate(*trainings.rows(), verbose=0, callbacks=[callback])
    made.predict(trainings.rows()[0], verbose=0, callbacks=[callback])
    assert ckptkit.open_run(run).journal == journal
