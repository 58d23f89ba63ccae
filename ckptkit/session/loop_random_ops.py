"""Finds random operations in a loop's first turn that a resume cannot repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ckptkit.compat.tf_random import EagerOperations


class FirstTurn:
    """Watches the first turn of a loop for random operations that a resume cannot repeat.

    One turn is enough, because all turns run the same code, and watching slows down eager
    operations.

    Args:
        inexact: called with the reason if such an operation is found.
    """

    def __init__(self, inexact: Callable[[str], None]) -> None:
        self._inexact = inexact
        self._stack: ExitStack | None = None
        self._done = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the operations of the block, which runs the body of a turn.

        Raises:
            ConfigError: If exactness is required, and the turn cannot be resumed exactly.
        """
        if self._done:
            yield
            return
        self._done = True
        with ExitStack() as self._stack:
            operations = self._stack.enter_context(EagerOperations())
            yield
        if operations.random:
            self._inexact(
                f"the loop draws from {', '.join(sorted(operations.random))}, whose state is "
                "inside TensorFlow's kernels and cannot be saved. Use keras.random with a "
                "SeedGenerator, tf.random.Generator, or tf.random.stateless_*; outside of a "
                "tf.function, tf.random.set_seed(n) before the loop is enough"
            )

    def stop(self) -> None:
        """Stop watching, if a turn is being watched."""
        if self._stack is not None:
            self._stack.close()
