"""What `TensorFlowManager` refuses, so that nothing is lost or saved over without a word."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.clock import SystemClock
from ckptkit.layout import RunLayout
from ckptkit.ownership.run_lock import RunLock
from ckptkit.storage.files import FileSystem
from tests.manager.test_tensorflow_manager import bits, number, objects, train


@pytest.fixture
def ours(tmp_path):
    made = []

    def build(checkpoint: tf.train.Checkpoint, **options) -> ckptkit.TensorFlowManager:
        made.append(ckptkit.TensorFlowManager(checkpoint, tmp_path / "run", 5, **options))
        return made[-1]

    yield build
    for each in made:
        each.close()


@pytest.mark.parametrize("option", ["init_from", "adopt"])
def test_the_first_save_loads_nothing_over_what_was_trained(ours, tmp_path, seed, option):
    checkpoint = objects()
    if option == "init_from":
        source = tmp_path / "a.weights.h5"
        objects().net.save_weights(source)
    else:
        source = objects().save(str(tmp_path / "theirs" / "ckpt"))
    manager = ours(checkpoint, **{option: source})
    train(checkpoint, seed)
    trained = bits(checkpoint)
    with pytest.raises(ckptkit.ConfigError, match=f"{option} names .*restore_or_initialize"):
        manager.save()
    assert bits(checkpoint) == trained
    assert manager.latest_checkpoint is None
    manager = ours(objects(), **{option: source})
    manager.restore_or_initialize()
    assert number(manager.save()) == 1


@pytest.mark.parametrize("make_manager", [ckptkit.TensorFlowManager, None])
def test_an_object_attached_after_the_manager_is_refused(tmp_path, make_manager):
    checkpoint = objects()
    if make_manager:
        manager = make_manager(checkpoint, tmp_path / "run", 5)
    else:
        manager = ckptkit.CheckpointManager(tmp_path / "run", checkpoint)
    checkpoint.late = tf.Variable(1.0)
    with pytest.raises(ckptkit.ConfigError, match="have changed since the manager was made: late"):
        manager.restore_or_initialize()
    del checkpoint.late
    manager.restore_or_initialize()
    try:
        manager.save()
        checkpoint.step = tf.Variable(3, dtype=tf.int64)
        with pytest.raises(ckptkit.ConfigError, match="manager was made: step"):
            manager.save()
    finally:
        with contextlib.suppress(ckptkit.ConfigError):
            manager.close()


def test_what_tensorflow_does_not_restore_is_not_saved_over(ours):
    def with_table() -> tuple[tf.train.Checkpoint, object]:
        table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
        return tf.train.Checkpoint(weight=tf.Variable(0.0), table=table), table

    checkpoint, table = with_table()
    table.insert([1, 2], [3, 4])
    manager = ours(checkpoint)
    manager.save()
    manager.close()
    checkpoint, table = with_table()
    manager = ours(checkpoint)
    checkpoint.restore(manager.latest_checkpoint).expect_partial()
    with pytest.raises(ckptkit.ConfigError, match=r"does not restore table.*or_initialize"):
        manager.save()
    manager.restore_or_initialize()
    assert int(table.size()) == 2
    assert number(manager.save()) == 2


def test_a_compiled_model_restored_by_tensorflow_is_saved(ours, seed):
    """Seeds and metrics of compile begin anew, as with TensorFlow's manager."""

    def compiled() -> keras.Model:
        layers = [keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
        model = keras.Sequential(layers)
        model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
        x = np.random.default_rng(seed).normal(size=(4, 3)).astype("float32")
        model.train_on_batch(x, x[:, :2])
        return model

    manager = ours(tf.train.Checkpoint(model=compiled()))
    manager.save()
    manager.close()
    checkpoint = tf.train.Checkpoint(model=compiled())
    manager = ours(checkpoint)
    checkpoint.restore(manager.latest_checkpoint)
    assert number(manager.save()) == 2


def test_a_number_is_no_proof_of_a_restore(ours, tmp_path):
    def one() -> tf.train.Checkpoint:
        return tf.train.Checkpoint(weight=tf.Variable(0.0))

    manager = ours(one())
    for _ in range(3):
        manager.save()
    manager.close()
    other = one()
    for _ in range(3):
        path = other.save(str(tmp_path / "other" / "ckpt"))
    checkpoint = one()
    manager = ours(checkpoint)
    checkpoint.restore(path)
    with pytest.raises(ckptkit.ConfigError, match="not restored"):
        manager.save()
    # The newest is damaged for a run, though TensorFlow can read it.
    newest = manager.latest_checkpoint
    assert newest is not None
    (pathlib.Path(newest).parent / "manifest.json").write_bytes(b"xx")
    checkpoint.restore(newest)
    with pytest.raises(ckptkit.ConfigError, match=r"damaged.*restore_or_initialize"):
        manager.save()
    assert number(manager.restore_or_initialize()) == 2


def test_a_first_number_of_zero_is_no_proof_of_a_restore(ours):
    manager = ours(objects())
    manager.save(checkpoint_number=0)
    manager.close()
    with pytest.raises(ckptkit.ConfigError, match="not restored"):
        ours(objects()).save()


def test_a_manager_that_was_closed_continues(ours):
    manager = ours(objects())
    manager.save()
    manager.close()
    assert number(manager.save()) == 2


def test_a_request_to_stop_does_not_wait_for_the_interval(ours, seed):
    checkpoint = objects()
    manager = ours(checkpoint, step_counter=checkpoint.step, checkpoint_interval=1000)
    manager.restore_or_initialize()
    train(checkpoint, seed)
    assert number(manager.save(checkpoint.step)) == 1
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(ckptkit.Preempted):
        for _ in range(50):
            train(checkpoint, seed)
            manager.save(checkpoint.step)
    assert number(manager.latest_checkpoint) == int(checkpoint.step) < 50


def test_a_root_without_a_name_is_refused_with_what_to_write(tmp_path):
    for checkpoint in (
        tf.train.Checkpoint(objects().net),
        tf.train.Checkpoint(root=objects().net, step=tf.Variable(1)),
    ):
        with pytest.raises(ckptkit.ConfigError, match=r"tf.train.Checkpoint\(model=model\)"):
            ckptkit.TensorFlowManager(checkpoint, tmp_path, 3)


def test_an_evaluation_is_told_how_to_read(ours, tmp_path):
    manager = ours(objects())
    manager.save()
    owner = RunLock(FileSystem(), RunLayout(tmp_path / "other"), SystemClock(), at_least=1)
    try:
        with pytest.raises(ckptkit.RunLockedError, match=r"checkpoint.restore\(manager.latest"):
            ckptkit.TensorFlowManager(objects(), tmp_path / "other", 5).restore_or_initialize()
    finally:
        owner.release()


def test_a_directory_of_tensorflows_manager_is_noticed_before_training(tmp_path):
    tf.train.CheckpointManager(objects(), str(tmp_path / "theirs"), 3).save()
    with pytest.raises(ckptkit.ConfigError, match=r"tf.train.CheckpointManager.*adopt="):
        ckptkit.TensorFlowManager(objects(), tmp_path / "theirs", 3)


def test_options_that_contradict_each_other_are_refused(ours):
    with pytest.raises(ckptkit.ConfigError, match=r"keep=KeepLatest\(n=9\), max_to_keep=5"):
        ours(objects(), keep=ckptkit.KeepLatest(9))
    with pytest.raises(ckptkit.ConfigError, match="background=True"):
        ours(objects(), background=True)
