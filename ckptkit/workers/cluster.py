"""How many processes train together: one, for now."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ckptkit.errors import ConfigError

_TRAINING = ("chief", "master", "worker", "ps")


def check_one_worker(environment: Mapping[str, str]) -> None:
    """Checks that this process is not one of several that train a model together.

    Args:
        environment: of the process; TensorFlow's `TF_CONFIG` names the others.

    Raises:
        ConfigError: where it is one of several.
    """
    try:
        cluster = json.loads(environment.get("TF_CONFIG") or "{}").get("cluster") or {}
        count = sum(len(cluster.get(kind, ())) for kind in _TRAINING)
    except (ValueError, AttributeError, TypeError):
        return  # TensorFlow itself says what is wrong with it
    if count > 1:
        raise ConfigError(
            f"TF_CONFIG names {count} processes that train together, which is not supported yet: "
            "one process writes a run. Train in "
            f"one process, or without ckptkit, until it is."
        )
