"""TensorFlow without GPUs, for processes that only read saved files."""

from __future__ import annotations

import os

HIDDEN_DEVICES = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "HIP_VISIBLE_DEVICES": "-1",
    "ROCR_VISIBLE_DEVICES": "-1",
}
"""The environment that hides all GPUs. TensorFlow would reserve the memory of each GPU that it
sees.
"""


def hide_gpus() -> None:
    """Hide GPUs and startup messages from TensorFlow, and make it the backend of Keras.

    Call it before TensorFlow and Keras are imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.update(HIDDEN_DEVICES)
    # What the shell asks for is meant for trainings; these processes compute with TensorFlow only.
    os.environ["KERAS_BACKEND"] = "tensorflow"
