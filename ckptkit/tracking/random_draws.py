"""The state of random draws in traced functions, which `exact="replace"` makes stateless."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import tensorflow as tf
import xxhash

from ckptkit.compat import tf_random

_PHILOX = 1
"""The number of the algorithm in TensorFlow's operations."""


class RandomDraws:
    """The generators that traced functions take their seeds from.

    They belong to the process, like the states of `random` and NumPy: a function that was traced
    for one run may train the next one too.

    There is one generator for all operations, because TensorFlow runs what uses one variable in the
    program's order, in loops and branches of a graph too. An operation with a seed of its own draws
    from a generator of that seed, if the program has set no global seed.
    """

    def __init__(self) -> None:
        self._generators: dict[int | None, tf.Variable] = {}
        """The states of generators: two numbers of a counter, and a key."""
        self._beginnings: dict[int | None, Any] = {}
        """The states in which generators began, by the seed of the operation."""
        self._coming: dict[int | None, Any] = {}
        """The restored states of generators that no function of this process has used yet."""

    def next_seed(self, own: int | None) -> tf.Tensor:
        """Return a new seed at each run of the function that is traced now.

        Args:
            own: the seed of the operation itself, or None.
        """
        if own not in self._generators:
            with tf.init_scope():
                self._generators[own] = tf.Variable(self._first_state(own), trainable=False)
        # What `tf.random.Generator` does. But that refuses another strategy of `tf.distribute` than
        # the one in which it was made.
        before = tf.raw_ops.RngReadAndSkip(
            resource=self._generators[own].handle,
            alg=_PHILOX,
            delta=tf.constant(1, tf.uint64),
        )
        return before[::2]

    def _first_state(self, own: int | None) -> Any:
        beginning = self._beginning(own)
        return self._coming.pop(own, beginning)

    def _beginning(self, own: int | None) -> Any:
        if own not in self._beginnings:
            seed = tf_random.program_seed() if own is None else own
            # Digested, because a generator of the program may begin with the same seed.
            text = f"draws of {'the program' if own is None else 'an operation'}: {seed}"
            key = secrets.randbits(64) if seed is None else xxhash.xxh3_64_intdigest(text.encode())
            self._beginnings[own] = np.array([0, 0, key], np.uint64).astype(np.int64)
        return self._beginnings[own]

    def note_seed(self) -> None:
        """Begin anew if the program has called `tf.random.set_seed` since the last call."""
        if tf_random.has_seeded_again():
            self._beginnings.clear()
            self.set_state({})

    def get_state(self) -> dict[int | None, Any]:
        """Return the states of the generators, by the seed of the operation."""
        now = {own: each.numpy() for own, each in self._generators.items()}
        return {**self._coming, **now}

    def set_state(self, state: dict[int | None, Any]) -> None:
        """Set a state that `get_state` returned; other generators begin anew."""
        for own, generator in self._generators.items():
            # In place, because functions that were traced have captured its variable.
            generator.assign(state[own] if own in state else self._beginning(own))
        self._coming = {own: each for own, each in state.items() if own not in self._generators}

    def owns(self, variable: Any) -> bool:
        """Return whether a variable is the state of a generator."""
        return any(each is variable for each in self._generators.values())


draws = RandomDraws()
"""The generators of this process."""
