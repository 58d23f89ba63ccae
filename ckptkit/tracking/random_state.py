"""Random states that belong to the process: Python's, NumPy's, and Keras' global one."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from ckptkit.compat import tf_random


class ProcessRandom:
    """The process's random states, as an entry of the state.

    Attributes:
        only_keras: leave Python's and NumPy's alone when states are given back: data that is drawn
            again has moved them already.
    """

    def __init__(self) -> None:
        self.only_keras = False

    def get_state(self) -> dict[str, Any]:
        """The states of now. Nothing is drawn, and nothing is made that was not there."""
        return {**python_and_numpy(), "keras": tf_random.global_seed()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Gives the states back."""
        if not self.only_keras:
            set_python_and_numpy(state)
        if state["keras"] is not None:
            tf_random.set_global_seed(state["keras"])


def python_and_numpy() -> dict[str, Any]:
    """The states of `random` and of NumPy's global generator."""
    return {"python": random.getstate(), "numpy": np.random.get_state()}


def set_python_and_numpy(state: dict[str, Any]) -> None:
    """Gives `random` and NumPy's global generator a state that `python_and_numpy` took."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
