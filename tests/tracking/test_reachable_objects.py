"""Changes of references are noticed between two saves, also if the same objects stay."""

from __future__ import annotations

import pytest
import tensorflow as tf

import ckptkit


def module() -> tf.Module:
    return tf.Module()


def checkpoint() -> tf.train.Checkpoint:
    return tf.train.Checkpoint()


@pytest.mark.parametrize("make", [module, checkpoint])
def test_exchanged_attributes_are_restored_under_their_new_names(tmp_path, make):
    holder = make()
    holder.a, holder.b = tf.Variable(1.0), tf.Variable(2.0)
    with ckptkit.CheckpointManager(tmp_path / "run", {"m": holder}, background=False) as manager:
        manager.save(1)
        first, second = holder.a, holder.b
        del holder.a, holder.b
        holder.b, holder.a = first, second
        manager.save(2)
        newest = manager.latest_checkpoint
    other = make()
    other.a, other.b = tf.Variable(0.0), tf.Variable(0.0)
    tf.train.Checkpoint(m=other).restore(newest).assert_existing_objects_matched()
    assert (float(other.a), float(other.b)) == (2.0, 1.0)
