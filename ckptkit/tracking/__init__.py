"""Tracking: which values a run's state consists of, their keys, and how a snapshot copies them."""

import keras  # noqa: F401  its configuration file may name the backend, which is known from now on

from ckptkit.keras_backend import check_keras_backend

# At the import, because every room that works with Keras' variables imports this one. With another
# backend those are no tf.Variables, and each use would fail in a way of its own.
check_keras_backend()
