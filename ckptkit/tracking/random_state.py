"""Random states of the whole process: Python's, NumPy's, and the global one of Keras."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from ckptkit.compat import tf_random


class ProcessRandom:
    """The process's random states, as an entry of the state.

    Attributes:
        only_keras: if True, a restore leaves Python's and NumPy's states alone, because data that
            is drawn again has moved them already.
    """

    def __init__(self) -> None:
        self.only_keras = False

    def get_state(self) -> dict[str, Any]:
        """Return the present states, without drawing a number or creating a generator."""
        return {**python_and_numpy(), "keras": tf_random.global_seed()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set states that `get_state` returned."""
        if not self.only_keras:
            set_python_and_numpy(state)
        # None: the program had no global seed. Setting one would change what it draws.
        if state["keras"] is not None:
            tf_random.set_global_seed(state["keras"])


def python_and_numpy() -> dict[str, Any]:
    """Return the states of `random` and of NumPy's global generator."""
    return {"python": random.getstate(), "numpy": np.random.get_state()}


def set_python_and_numpy(state: dict[str, Any]) -> None:
    """Set the states of `random` and of NumPy's global generator.

    Args:
        state: as `python_and_numpy` returned it.
    """
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
