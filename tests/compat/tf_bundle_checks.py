"""Checks of `ckptkit/compat/tf_bundle.py`: one function for each name."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from ckptkit.bundle.bundle_index import read_table
from ckptkit.compat import tf_bundle


def _table():
    value = tf.reshape(tf.range(12, dtype=tf.float32), [3, 4])
    tf.raw_ops.SaveV2(
        prefix="made",
        tensor_names=["first", "whole", "part"],
        shape_and_slices=["", "", "9 4 2,3:-"],
        tensors=[tf.constant([7], tf.int64), value, value],
    )
    file = Path("made.index").read_bytes()
    return dict(read_table(lambda offset, size: file[offset : offset + size], len(file)))


def bundle_shards():
    assert tf_bundle.bundle_shards(_table()[b""]) == 1
    _refused(tf_bundle.bundle_shards)


def bundle_entry():
    found = tf_bundle.bundle_entry(_table()[b"whole"])
    assert found == tf_bundle.BundleEntry(1, (3, 4), 0, 8, 48, ()), found
    _refused(tf_bundle.bundle_entry)


def BundleEntry():
    found = tf_bundle.bundle_entry(_table()[b"part"])
    assert found.shape == (9, 4)
    assert found.parts == (((2, 3), (0, tf_bundle.FULL)),)


def _refused(action):
    try:
        action(b"\xff")
    except ValueError:
        return
    raise AssertionError("bytes that are no message were taken")
