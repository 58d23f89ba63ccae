"""Tracking: finds all values of a run's state, gives them keys, and copies them into snapshots."""

import keras  # noqa: F401  its configuration file may name the backend, which is known from now on

from ckptkit.keras_backend import check_keras_backend

# Checked at import, because every part that works with Keras' variables imports this package. With
# another backend they are not tf.Variables, and each use would fail with a different error.
check_keras_backend()
