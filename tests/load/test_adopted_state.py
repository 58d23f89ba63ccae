"""`adopt`: what is found, set, missing and refused, in one process."""

from __future__ import annotations

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import ckptkit
from ckptkit.cli import main
from ckptkit.compat.tf_checkpoint import GraphNode
from ckptkit.load.graph_pairing import pair_graphs
from tests.load.adoption_programs import bits, network, rows


def trained(seed: int, steps: int = 3) -> keras.Model:
    model = network(seed)
    for _ in range(steps):
        model.train_on_batch(*rows(seed))
    return model


def adopted(directory, state, **options):
    """A run that has adopted, with what its journal says."""
    with ckptkit.CheckpointManager(directory / "run", state, **options) as manager:
        position = manager.position
    (event,) = [
        each for each in ckptkit.open_run(directory / "run").journal if each.event == "adopted"
    ]
    return position, event


def test_a_loop_continues_at_the_step_of_the_optimizer(tmp_path, seed):
    model = trained(seed, 5)
    prefix = tf.train.Checkpoint(net=model, step=tf.Variable(5)).save(
        str(tmp_path / "old" / "ckpt")
    )
    other, step = network(seed + 1), tf.Variable(0)
    position, event = adopted(tmp_path, {"net": other, "step": step}, adopt=tmp_path / "old")
    assert bits(other) == bits(model)
    assert (position.step, int(step)) == (5, 5)
    assert event.source == prefix
    assert event.missing == [variable.path for variable in other.metrics_variables]


def test_what_the_command_has_written_is_adopted_once(tmp_path, seed):
    model = trained(seed)
    model.save(tmp_path / "old.keras")
    assert main(["adopt", str(tmp_path / "old.keras"), str(tmp_path / "run")]) == 0
    other = network(seed + 1)
    position, event = adopted(tmp_path, {"net": other})
    assert bits(other) == bits(model)
    assert (position.step, event.step) == (3, 3)
    with ckptkit.CheckpointManager(tmp_path / "run", {"net": other}) as manager:
        other.train_on_batch(*rows(seed))
        manager.save(4)
    expected = bits(other)
    third = trained(seed + 2)  # with its metrics built
    with ckptkit.CheckpointManager(tmp_path / "run", {"net": third}):
        assert bits(third) == expected


def test_other_names_are_paired_by_what_they_have_in_common(tmp_path, seed):
    model, second = trained(seed), keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    optimizer = model.optimizer
    old = tf.train.Checkpoint(backbone=model, opt=optimizer, critic=second)
    prefix = old.write(str(tmp_path / "ckpt"))
    other = network(seed + 1)
    adopted(tmp_path, {"model": other}, adopt=prefix)
    assert bits(other) == bits(model)


def test_what_tensorflow_does_not_follow_is_missing_and_said(tmp_path, seed):
    class Blocks(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [keras.layers.Dense(3), keras.layers.BatchNormalization()]
            self(np.zeros((1, 4), "float32"))

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    def made():
        model = Blocks()
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        return model

    model = made()
    model.train_on_batch(np.ones((4, 4)), np.ones((4, 3)))
    prefix = tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(
        str(tmp_path / "ckpt")
    )
    other = made()
    before = bits(other)
    with pytest.raises(ckptkit.IncompatibleStateError, match=r"(?s)moving_mean.*strict=False"):
        ckptkit.CheckpointManager(
            tmp_path / "refused", {"model": other}, adopt=prefix
        ).restore_or_initialize()
    assert bits(other) == before
    _, event = adopted(tmp_path, {"model": other}, adopt=ckptkit.Adopt(prefix, strict=False))
    assert [path.rpartition("/")[2] for path in event.missing][:2] == [
        "moving_mean",
        "moving_variance",
    ]
    assert bits(other)[:4] == bits(model)[:4]


def test_another_shape_is_refused_before_anything_is_assigned(tmp_path, seed):
    model = trained(seed)
    file = tmp_path / "old.keras"
    model.save(file)
    prefix = tf.train.Checkpoint(model=model).write(str(tmp_path / "ckpt"))
    other = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(9, activation="tanh", name="body"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(2, name="head"),
        ]
    )
    other.compile("adam", "mse")
    other.optimizer.build(other.trainable_variables)
    before = bits(other)
    for number, source in enumerate((file, prefix)):
        with pytest.raises(ckptkit.IncompatibleStateError, match=r"(?s)4, 8.*4, 9"):
            ckptkit.CheckpointManager(
                tmp_path / str(number), {"model": other}, adopt=source
            ).restore_or_initialize()
    assert bits(other) == before


def test_a_file_without_an_optimizer_is_no_training_state(tmp_path, seed):
    model = trained(seed)
    plain = keras.Sequential(keras.models.clone_model(model).layers)
    plain.build((None, 4))
    plain.set_weights(model.get_weights())
    file = tmp_path / "old.weights.h5"
    plain.save_weights(file)
    other = network(seed + 1)
    with pytest.raises(ckptkit.IncompatibleStateError, match="init_from="):
        ckptkit.CheckpointManager(
            tmp_path / "refused", {"model": other}, adopt=file
        ).restore_or_initialize()
    start = ckptkit.Adopt(file, strict=False, step=40)
    position, event = adopted(tmp_path, {"model": other}, adopt=start)
    assert position.step == 40
    assert event.matched == {"weights": 8}
    assert [each.numpy().tobytes() for each in other.weights] == [
        each.numpy().tobytes() for each in model.weights
    ]


def test_a_batch_inside_an_epoch_is_said(tmp_path, seed, caplog):
    backup = tmp_path / "backup"
    backup.mkdir()
    trained(seed).save_weights(backup / "latest.weights.h5")
    (backup / "training_metadata.json").write_text(json.dumps({"epoch": 2, "batch": 5}))
    caplog.set_level("INFO", logger="ckptkit")
    position, _ = adopted(tmp_path, {"model": network(seed + 1)}, adopt=backup)
    assert position == ckptkit.RunPosition(3, 2, 0)
    assert "the 5 batches after that epoch are trained again" in caplog.text
    (backup / "training_metadata.json").write_text("{")
    with pytest.raises(ckptkit.CorruptCheckpointError, match=r"ckptkit.Adopt\(.*epoch="):
        ckptkit.CheckpointManager(
            tmp_path / "torn", {"model": network(seed)}, adopt=backup
        ).restore_or_initialize()


def test_the_directory_itself_is_refused_with_the_way_on(tmp_path, seed):
    backup = tmp_path / "backup"
    backup.mkdir()
    (backup / "latest.weights.h5").write_bytes(b"")
    (backup / "training_metadata.json").write_text(json.dumps({"epoch": 2}))
    manager = ckptkit.CheckpointManager(backup, {"model": network(seed)})
    with pytest.raises(ckptkit.ConfigError, match=re.escape(f"adopt={str(backup)!r}")):
        manager.restore_or_initialize()
    assert {path.name for path in backup.iterdir()} == {
        "latest.weights.h5",
        "training_metadata.json",
    }


def test_an_epoch_that_nobody_knows_is_asked_for(tmp_path, seed):
    file = tmp_path / "old.keras"
    trained(seed, steps=6).save(file)

    def fit(adopt, name):
        callback = ckptkit.CheckpointCallback(
            tmp_path / name, adopt=adopt, export=False, exact="off"
        )
        return network(seed).fit(
            *rows(seed), epochs=4, batch_size=8, shuffle=False, verbose=0, callbacks=[callback]
        )

    with pytest.raises(ckptkit.ConfigError, match=r"6 steps.*epochs of 4 steps.*epoch="):
        fit(file, "refused")
    assert fit(ckptkit.Adopt(file, epoch=1), "run").epoch == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nothing", ckptkit.CheckpointNotFoundError, "does not exist"),
        ("run", ckptkit.ConfigError, "is a run of ckptkit.*init_from="),
        ("saved_model", ckptkit.ConfigError, "SavedModel.*init_from="),
        (7, ckptkit.ConfigError, "a path such as"),
    ],
)
def test_what_is_no_state_of_another_system_is_refused(tmp_path, seed, name, error, message):
    model = network(seed)
    if name == "run":
        with ckptkit.CheckpointManager(tmp_path / "run", {"model": model}) as manager:
            manager.save(1)
    if name == "saved_model":
        tf.saved_model.save(tf.Module(), str(tmp_path / "saved_model"))
    source = tmp_path / name if isinstance(name, str) else name
    with pytest.raises(error, match=message):
        ckptkit.CheckpointManager(
            tmp_path / "new", {"model": model}, adopt=source
        ).restore_or_initialize()


def test_adopt_and_init_from_exclude_each_other(tmp_path):
    with pytest.raises(ckptkit.ConfigError, match="Pass one of them"):
        ckptkit.CheckpointCallback(tmp_path, adopt="a", init_from="b")


def test_pairs_follow_names_and_never_guess_between_two():
    def variable(key):
        return GraphNode({}, key, key)

    saved = [
        GraphNode({"x": 1, "y": 2}, "", ""),
        GraphNode({"w": 3}, "", ""),
        GraphNode({"w": 4}, "", ""),
        variable("x/w"),
        variable("y/w"),
    ]
    live = [
        GraphNode({"x": 1}, "", ""),
        GraphNode({"w": 2, "z": 3}, "", ""),
        variable("a"),
        variable("b"),
    ]
    assert pair_graphs(live, saved) == {"a": "x/w"}
    live[0] = GraphNode({"other": 1}, "", "")
    assert pair_graphs(live, saved) == {}, "both have as much in common"
    saved[2] = GraphNode({}, "", "")
    assert pair_graphs(live, saved) == {"a": "x/w"}
    saved[3] = GraphNode({"back": 1}, "", "")  # a circle, and no variable
    assert pair_graphs(live, saved) == {}
