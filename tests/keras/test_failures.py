"""Failures close the run, and the journal has the reason; earlier checkpoints stay."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import time

import pytest

import ckptkit
from ckptkit.storage.files import FileSystem, storage_errors
from tests.keras.conftest import journal_events


def is_free(run) -> bool:
    """Whether another process could open the run."""
    manager = ckptkit.CheckpointManager(run, {"nothing": _Nothing()})
    pid = os.fork()
    if pid == 0:
        try:
            manager.open_session()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class _Nothing:
    def get_state(self) -> None:
        return None

    def set_state(self, state: None) -> None:
        pass


def test_an_exception_saves_nothing_and_is_in_the_journal(trainings, run):
    with pytest.raises(trainings.StopError):
        trainings.fit(run, None, trainings.after(6), save=ckptkit.EveryNSteps(4))
    assert [checkpoint.step for checkpoint in ckptkit.open_run(run).checkpoints] == [4]
    (failed,) = journal_events(run, "failed")
    assert (failed.error, failed.message, failed.step, failed.restart) == ("StopError", "", 6, True)
    assert [event.outcome for event in journal_events(run, "attempt_ended")] == ["failed"]
    assert trainings.fit(run).epoch == [0, 1]
    assert [event.step for event in journal_events(run, "restored")] == [4]


def test_an_exception_in_a_loop(trainings, run):
    weight = trainings.tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(run, {"weight": weight}, save=ckptkit.EveryNSteps(4))

    def train():
        with manager:
            for step in manager.steps(10):
                weight.assign_add(1 / (6 - step))

    with pytest.raises(ZeroDivisionError):
        train()
    assert manager.all_steps == [4]
    (failed,) = journal_events(run, "failed")
    assert (failed.error, failed.message, failed.step, failed.restart) == (
        "ZeroDivisionError",
        "division by zero",
        5,
        True,
    )


def test_errors_that_a_new_start_would_meet_again(trainings, run):
    trainings.interrupted(run)
    with pytest.raises(ckptkit.IncompatibleStateError):
        trainings.fit(run, trainings.model(width=5))
    with pytest.raises(ckptkit.ConfigError):
        trainings.fit(run, trainings.model(loss="mae"))
    assert [(event.error, event.restart) for event in journal_events(run, "failed")] == [
        ("StopError", True),
        ("IncompatibleStateError", False),
        ("ConfigError", False),
    ]
    assert trainings.fit(run).epoch == [0, 1]


@pytest.mark.parametrize(
    "where",
    [
        "on_epoch_begin",
        "on_train_batch_begin",
        "on_train_batch_end",
        "on_test_begin",
        "on_test_batch_end",
        "on_test_end",
        "on_epoch_end",
        "on_train_end",
        "data",
        "validation data",
        "step",
    ],
)
def test_the_run_is_closed_at_once(trainings, run, where):
    """The caught exception keeps the frames of `fit` alive meanwhile."""

    def fails(*args, **options):
        raise trainings.StopError

    @trainings.tf.py_function(Tout=trainings.tf.float32)
    def bad_row():
        raise trainings.StopError

    made, training, validation, callbacks = (
        trainings.model(),
        trainings.data(),
        trainings.data(),
        [],
    )
    bad = (
        trainings.data()
        .take(2)
        .concatenate(
            trainings.data().map(lambda x, y: (x + trainings.tf.reshape(bad_row(), ()), y))
        )
    )
    if where == "data":
        training = bad
    elif where == "validation data":
        validation = bad
    elif where == "step":
        made.train_step = fails
    else:
        callback = trainings.keras.callbacks.Callback()
        setattr(callback, where, fails)
        callbacks = [callback]
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises((trainings.StopError, trainings.tf.errors.OpError)) as caught:
        made.fit(
            training,
            validation_data=validation,
            shuffle=False,
            verbose=0,
            epochs=2,
            callbacks=[*callbacks, ckptkit.CheckpointCallback(run, export=False)],
        )
    assert caught.tb is not None
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert [event.outcome for event in journal_events(run, "attempt_ended")] == ["failed"]
    assert len(journal_events(run, "failed")) == 1
    assert is_free(run)


def test_two_saves_of_nan_do_not_push_out_the_last_good_one(trainings, run):
    weight = trainings.tf.Variable(0.0)
    with ckptkit.CheckpointManager(
        run,
        {"weight": weight},
        save=ckptkit.EveryNSteps(1),
        keep=ckptkit.KeepLatest(2),
        background=False,
    ) as manager:
        for step in manager.steps(6):
            weight.assign_add(1.0)
            manager.log(loss=float("nan") if step > 3 else 1.0 / step)
    assert manager.all_steps == [3, 5, 6]
    assert ckptkit.open_run(run).find("best", monitor="loss").step == 3
    with ckptkit.CheckpointManager(run, {"weight": weight}) as manager:
        assert manager.restore(step=3).step == 3
        assert float(weight) == 3.0


def test_a_fit_that_diverges_keeps_its_last_finite_state(trainings, run):
    x, y = trainings.rows()
    made = trainings.model()
    poison = trainings.keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: (
            epoch == 2 and made.layers[0].bias.assign(made.layers[0].bias * float("nan"))
        )
    )
    made.fit(
        x,
        y,
        batch_size=8,
        epochs=5,
        verbose=0,
        shuffle=False,
        callbacks=[
            poison,
            ckptkit.CheckpointCallback(
                run,
                save=ckptkit.EveryNEpochs(1),
                keep=ckptkit.KeepLatest(2),
                export=False,
                background=False,
            ),
        ],
    )
    # The weights are spoilt before the save of epoch 2, whose metrics are still finite.
    assert [checkpoint.manifest.epoch for checkpoint in ckptkit.open_run(run).checkpoints] == [
        1,
        4,
        5,
    ]


def test_what_cannot_be_tidied_up_does_not_end_training(trainings, run):
    class Keeping(FileSystem):
        """A disk that removes nothing, and writes no state file of TensorFlow."""

        def rename(self, source, target):
            if target.name.startswith(".removing-"):
                with storage_errors("rename", source):
                    raise PermissionError(errno.EPERM, "no")
            super().rename(source, target)

        def replace_content(self, path, data):
            if path.name == "checkpoint":
                with storage_errors("write", path):
                    raise PermissionError(errno.EPERM, "no")
            super().replace_content(path, data)

    weight = trainings.tf.Variable(0.0)
    manager = ckptkit.CheckpointManager(
        run,
        {"weight": weight},
        save=ckptkit.EveryNSteps(1),
        keep=ckptkit.KeepLatest(1),
        files=Keeping(),
        background=False,
    )
    with trainings.logged() as lines, manager:
        assert list(manager.steps(3)) == [1, 2, 3]
    assert manager.all_steps == [1, 2, 3]
    whats = {event.what for event in journal_events(run, "tidying_failed")}
    assert whats == {"remove ckpt-1-1", "remove ckpt-2-1", "write TensorFlow's state file"}
    assert any(
        "could not remove ckpt-1-1; the checkpoints are safe, and training continues" in line
        for line in lines
    )
    assert [event.outcome for event in journal_events(run, "attempt_ended")] == ["finished"]


def test_a_second_manager_closes_the_first(trainings, run):
    first = ckptkit.CheckpointManager(run, {"weight": trainings.tf.Variable(1.0)})
    first.restore_or_initialize()
    first.save(1)
    second = ckptkit.CheckpointManager(run, {"weight": trainings.tf.Variable(2.0)})
    assert second.restore_or_initialize().step == 1
    with pytest.raises(ckptkit.ConfigError, match="The run is not open"):
        first.save(2)
    second.close()
    assert [event.outcome for event in journal_events(run, "attempt_ended")] == [
        "stopped",
        "stopped",
    ]


def test_a_second_manager_does_not_close_one_that_is_training(trainings, run):
    def state():
        return {"weight": trainings.tf.Variable(1.0)}

    with ckptkit.CheckpointManager(run, state()) as manager:
        for step in manager.steps(4):
            if step == 2:
                with pytest.raises(
                    ckptkit.RunLockedError, match="another manager or callback of this process"
                ):
                    ckptkit.CheckpointManager(run, state()).restore_or_initialize()
                with pytest.raises(
                    ckptkit.RunLockedError, match="another manager or callback of this process"
                ):
                    trainings.fit(run)
    assert [event.step for event in journal_events(run, "finished")] == [4]


def test_a_second_manager_does_not_close_a_fit(trainings, run):
    def second():
        with pytest.raises(
            ckptkit.RunLockedError, match="another manager or callback of this process"
        ):
            ckptkit.CheckpointManager(
                run, {"weight": trainings.tf.Variable(1.0)}
            ).restore_or_initialize()

    assert trainings.fit(run, None, trainings.after(3, second)).epoch == [0, 1]


def test_another_process_gets_to_know_the_owner(trainings, run, tf_call):
    started = time.time()
    owner = tf_call("tests.keras.training_programs:hold_open", str(run))
    owner.wait_for_output("open")
    with pytest.raises(ckptkit.RunLockedError) as caught:
        trainings.fit(run)
    message = str(caught.value)
    assert f"process {owner.pid} on {socket.gethostname()}" in message
    since = re.search(r"since (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", message)
    assert since is not None
    assert abs(time.mktime(time.strptime(since[1], "%Y-%m-%d %H:%M:%S")) - started) < 60
    assert "wait until it ends, or name another directory" in message
    owner.kill()
    assert trainings.fit(run).epoch == [0, 1], "the lock goes with its owner"
