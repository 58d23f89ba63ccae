"""TensorFlow where nothing is computed: a process that looks at what was saved leaves the machine's
GPUs to those who train.
"""

from __future__ import annotations

import os

HIDDEN_DEVICES = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "HIP_VISIBLE_DEVICES": "-1",
    "ROCR_VISIBLE_DEVICES": "-1",
}
"""The environment of a process that sees no GPU: TensorFlow takes all the memory of each that it
sees.
"""


def hide_gpus() -> None:
    """Tells TensorFlow, before it is imported, that this process only looks: no GPU, and no lines
    about the machine; damage is said by us.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.update(HIDDEN_DEVICES)
