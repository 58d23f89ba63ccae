"""Hides all GPUs from TensorFlow, for processes that only read saved files."""

from __future__ import annotations

import os

HIDDEN_DEVICES = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "HIP_VISIBLE_DEVICES": "-1",
    "ROCR_VISIBLE_DEVICES": "-1",
}
"""The environment variables that hide all GPUs.

Otherwise TensorFlow would reserve the memory of each GPU.
"""


def hide_gpus() -> None:
    """Hide GPUs and startup messages from TensorFlow, and make it the backend of Keras.

    Call it before TensorFlow and Keras are imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.update(HIDDEN_DEVICES)
    # The shell's setting is meant for trainings; these processes always use TensorFlow.
    os.environ["KERAS_BACKEND"] = "tensorflow"
