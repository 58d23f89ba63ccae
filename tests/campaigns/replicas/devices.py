"""Strategies of `tf.distribute` on devices of the processor."""

from __future__ import annotations

import tensorflow as tf


def mirrored(devices: int) -> tf.distribute.Strategy:
    """Return a strategy with some devices; only before TensorFlow has begun to compute.

    Args:
        devices: their number; 0 for no strategy at all.
    """
    if not devices:
        return tf.distribute.get_strategy()
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(devices)])
