"""Checks that Keras uses TensorFlow as its backend, which ckptkit needs.

It does not import Keras, because that import fails with another error if the backend in the
environment is not installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ckptkit.errors import ConfigError


def keras_backend(environment: Mapping[str, str]) -> str:
    """Return the backend of Keras: the loaded one, or the one that the environment requests.

    Args:
        environment: the environment of the process; it counts only until Keras is imported.
    """
    # A program may change the variable after the import, but Keras does not read it again.
    config = getattr(sys.modules.get("keras"), "config", None)
    if config is not None:
        return str(config.backend())
    return environment.get("KERAS_BACKEND") or "tensorflow"


def check_keras_backend(environment: Mapping[str, str] = os.environ) -> None:
    """Check that Keras computes with TensorFlow.

    Args:
        environment: of the process.

    Raises:
        ConfigError: If Keras has another backend.
    """
    backend = keras_backend(environment)
    if backend != "tensorflow":
        raise ConfigError(
            f"Expected Keras with the backend 'tensorflow', which ckptkit needs. Received: "
            f"{backend!r}. Set KERAS_BACKEND=tensorflow before the program imports keras."
        )
