"""Checks of `ckptkit/compat/tf_summary.py`: one function for each name."""

from __future__ import annotations

import tensorflow as tf

from ckptkit.compat import tf_summary


def write_summaries_if():
    writes = tf.Variable(False)
    writer = tf.summary.create_file_writer("points")

    def step(number):
        with writer.as_default():
            tf.summary.scalar("own", 1.0, step=number)
            with tf.summary.record_if(number % 2 == 0):
                tf.summary.scalar("even", 1.0, step=number)
            with tf.summary.record_if(False):
                tf.summary.scalar("never", 1.0, step=number)

    for run in (tf.function(step), step):
        writes.assign(False)
        with tf_summary.write_summaries_if(writes.read_value):
            run(tf.constant(0, tf.int64))
            writes.assign(True)
            run(tf.constant(2, tf.int64))
        run(tf.constant(3, tf.int64))
        run(tf.constant(4, tf.int64))
    writer.close()
    import glob

    from tensorflow.core.util.event_pb2 import Event

    seen = [
        (value.tag, event.step)
        for path in glob.glob("points/*")
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator()
        for event in [Event.FromString(record)]
        for value in event.summary.value
    ]
    assert sorted(seen) == sorted(
        [("own", 2), ("even", 2), ("own", 3), ("own", 4), ("even", 4)] * 2
    ), seen
