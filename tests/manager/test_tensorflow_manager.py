"""A program written for `tf.train.CheckpointManager`, run with it and with ours: same results."""

from __future__ import annotations

import inspect
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit

MANAGERS = {"tensorflow": tf.train.CheckpointManager, "ckptkit": ckptkit.TensorFlowManager}


def objects() -> tf.train.Checkpoint:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(model.trainable_variables)
    return tf.train.Checkpoint(step=tf.Variable(0, dtype=tf.int64), net=model, optimizer=optimizer)


def train(checkpoint: tf.train.Checkpoint, seed: int) -> None:
    x = np.random.default_rng(seed + int(checkpoint.step)).normal(size=(4, 3)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(checkpoint.net(x) ** 2)
    weights = checkpoint.net.trainable_variables
    checkpoint.optimizer.apply(tape.gradient(loss, weights), weights)
    checkpoint.step.assign_add(1)


def bits(checkpoint: tf.train.Checkpoint) -> list[bytes]:
    variables = [*checkpoint.net.variables, *checkpoint.optimizer.variables, checkpoint.step]
    return [np.asarray(tf.convert_to_tensor(each)).tobytes() for each in variables]


def number(path: str | None) -> int | None:
    """The number at the end of a path, as scripts read it."""
    return None if path is None else int(path.rsplit("-", 1)[1])


@pytest.fixture(params=MANAGERS)
def make(request, tmp_path):
    """Makes a manager; the end of the test closes ours."""
    made = []

    def build(checkpoint: tf.train.Checkpoint, max_to_keep: int | None, **options):
        for each in made:
            getattr(each, "close", lambda: None)()
        manager = MANAGERS[request.param]
        made.append(manager(checkpoint, str(tmp_path / "run"), max_to_keep, **options))
        return made[-1]

    yield build
    for each in made:
        getattr(each, "close", lambda: None)()


def test_a_new_directory(make):
    checkpoint, begun = objects(), []
    manager = make(checkpoint, max_to_keep=3, init_fn=lambda: begun.append(1))
    assert isinstance(manager, tf.train.CheckpointManager)
    assert manager.latest_checkpoint is None
    assert manager.checkpoints == []
    assert manager.checkpoint is checkpoint
    assert manager.restore_or_initialize() is None
    assert begun == [1]


def test_numbers_go_up_and_the_oldest_are_deleted(make, seed):
    checkpoint = objects()
    manager = make(checkpoint, max_to_keep=2)
    saved = []
    for _ in range(4):
        train(checkpoint, seed)
        saved.append(manager.save())
    assert list(map(number, saved)) == [1, 2, 3, 4]
    assert manager.checkpoints == saved[2:]
    assert manager.latest_checkpoint == saved[-1] == tf.train.latest_checkpoint(manager.directory)
    assert [os.path.exists(f"{path}.index") for path in saved] == [False, False, True, True]
    assert int(checkpoint.save_counter) == 4


@pytest.mark.parametrize("how", ["restore_or_initialize", "checkpoint.restore"])
def test_a_new_process_restores_and_continues_the_numbers(make, seed, how):
    checkpoint = objects()
    manager = make(checkpoint, max_to_keep=2)
    for _ in range(3):
        train(checkpoint, seed)
        manager.save()
    latest, expected = manager.latest_checkpoint, bits(checkpoint)
    train(checkpoint, seed)  # lost
    other = objects()
    manager = make(other, max_to_keep=2)
    assert manager.latest_checkpoint == latest
    if how == "restore_or_initialize":
        assert manager.restore_or_initialize() == latest
    else:
        status = other.restore(manager.latest_checkpoint)
        status.assert_existing_objects_matched()
        status.assert_consumed()
    assert bits(other) == expected
    assert int(other.step) == 3
    train(other, seed)
    assert number(manager.save()) == 4
    assert list(map(number, manager.checkpoints)) == [3, 4]


@pytest.mark.parametrize("kind", [int, np.int64, tf.Variable, tf.constant])
def test_numbers_of_the_program(make, seed, kind):
    checkpoint = objects()
    manager = make(checkpoint, max_to_keep=None)
    for step in (10, 25, 300):
        train(checkpoint, seed)
        assert number(manager.save(checkpoint_number=kind(step))) == step
    assert list(map(number, manager.checkpoints)) == [10, 25, 300]


def test_an_interval_of_steps(make, seed):
    checkpoint = objects()
    manager = make(checkpoint, None, step_counter=checkpoint.step, checkpoint_interval=3)
    assert manager.checkpoint_interval == 3
    saved = []
    for _ in range(8):
        train(checkpoint, seed)
        saved.append(manager.save(checkpoint_number=checkpoint.step))
    assert list(map(number, saved)) == [1, None, None, 4, None, None, 7, None]
    assert number(manager.save(checkpoint.step, check_interval=False)) == 8
    assert manager.save(checkpoint.step, check_interval=False) is None, "saved already"
    other = objects()
    manager = make(other, None, step_counter=other.step, checkpoint_interval=3)
    manager.restore_or_initialize()
    train(other, seed)
    assert manager.save(checkpoint_number=other.step) is None, "one step after the restored one"


def test_a_good_checkpoint_is_read_by_others(make, seed):
    """An evaluation job that knows only the directory and its model."""
    checkpoint = objects()
    manager = make(checkpoint, max_to_keep=5)
    train(checkpoint, seed)
    manager.save()
    net = objects().net
    newest = tf.train.latest_checkpoint(manager.directory)
    tf.train.Checkpoint(net=net).restore(newest).expect_partial()
    assert [w.numpy().tobytes() for w in net.weights] == [
        w.numpy().tobytes() for w in checkpoint.net.weights
    ]
    paths = iter(tf.train.checkpoints_iterator(manager.directory, timeout=0))
    assert next(paths) == newest


def test_a_wrong_number_of_checkpoints(make):
    with pytest.raises(ValueError, match="0"):
        make(objects(), max_to_keep=0)


# -- what is different


@pytest.fixture
def ours(tmp_path):
    made = []

    def build(checkpoint: tf.train.Checkpoint, **options) -> ckptkit.TensorFlowManager:
        made.append(ckptkit.TensorFlowManager(checkpoint, tmp_path / "run", 5, **options))
        return made[-1]

    yield build
    for each in made:
        each.close()


def test_a_save_over_checkpoints_that_were_not_restored_is_refused(ours):
    manager = ours(objects())
    manager.save()
    manager.close()
    with pytest.raises(ckptkit.ConfigError, match=r"not restored.*restore_or_initialize"):
        ours(objects()).save()


def test_a_smaller_number_is_refused(ours):
    manager = ours(objects())
    manager.save(checkpoint_number=7)
    with pytest.raises(ckptkit.ConfigError, match="step"):
        manager.save(checkpoint_number=5)


def test_another_name_of_checkpoints_is_refused(ours):
    with pytest.raises(ckptkit.ConfigError, match="named 'ckpt'"):
        ours(objects(), checkpoint_name="model")
    with pytest.raises(ckptkit.ConfigError, match=r"tf.train.Checkpoint first"):
        ckptkit.TensorFlowManager("run", objects(), 5)
    with pytest.raises(ckptkit.ConfigError, match="step_counter too"):
        ours(objects(), checkpoint_interval=3)


def test_what_tensorflows_manager_has_saved_is_adopted(tmp_path, ours, seed):
    checkpoint, begun = objects(), []
    theirs = tf.train.CheckpointManager(checkpoint, str(tmp_path / "theirs"), max_to_keep=2)
    for _ in range(3):
        train(checkpoint, seed)
        theirs.save(checkpoint.step)
    other = objects()
    manager = ours(other, init_fn=lambda: begun.append(1), adopt=tmp_path / "theirs")
    assert manager.restore_or_initialize() is None
    assert bits(other) == bits(checkpoint)
    assert not begun
    assert number(manager.save()) == 4


def test_every_public_name_of_tensorflows_class_is_its_own():
    theirs = {name for name in vars(tf.train.CheckpointManager) if not name.startswith("_")}
    assert theirs <= vars(ckptkit.TensorFlowManager).keys()
    expected = inspect.signature(tf.train.CheckpointManager.save).parameters.keys()
    assert inspect.signature(ckptkit.TensorFlowManager.save).parameters.keys() == expected


# -- the same habits with `CheckpointManager`


def test_our_manager_takes_a_checkpoint_and_numbers_its_saves(tmp_path, seed):
    checkpoint = objects()
    manager = ckptkit.CheckpointManager(
        tmp_path / "run", checkpoint, keep=ckptkit.KeepLatest(2), background=False
    )
    assert manager.latest_checkpoint is None
    with manager:
        for _ in range(3):
            train(checkpoint, seed)
            manager.save()
        manager.save(checkpoint_number=tf.Variable(9, dtype=tf.int64))
        assert list(map(number, manager.checkpoints)) == [3, 9]
        assert manager.latest_checkpoint == tf.train.latest_checkpoint(manager.directory)
        with pytest.raises(ckptkit.ConfigError, match="pass one of them"):
            manager.save(10, checkpoint_number=10)
        for _ in manager.steps(10):
            with pytest.raises(ckptkit.ConfigError, match=r"manager.save\(step\)"):
                manager.save()
    other = objects()
    ckptkit.load_weights(other.net, tmp_path / "run")
    assert bits(other)[:2] == bits(checkpoint)[:2]


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"max_to_keep": 3}, "KeepLatest"),
        ({"keep_checkpoint_every_n_hours": 3}, "KeepEveryNHours"),
        ({"checkpoint_interval": 3}, "EveryNSteps"),
        ({"save_best_only": True}, "KeepBest"),
    ],
)
def test_an_argument_of_another_system_is_refused_with_what_to_write(tmp_path, options, instead):
    with pytest.raises(ckptkit.ConfigError, match=instead):
        ckptkit.CheckpointManager(tmp_path, {"step": tf.Variable(0)}, **options)
    with pytest.raises(ckptkit.ConfigError, match=instead):
        ckptkit.CheckpointCallback(tmp_path, **options)


def test_exchanged_arguments_are_refused_with_what_to_write(tmp_path):
    with pytest.raises(ckptkit.ConfigError, match=r"TensorFlowManager\(checkpoint, 'runs/a'"):
        ckptkit.CheckpointManager(objects(), "runs/a")
    with pytest.raises(ckptkit.ConfigError, match="no objects"):
        ckptkit.CheckpointManager(tmp_path, tf.train.Checkpoint())
