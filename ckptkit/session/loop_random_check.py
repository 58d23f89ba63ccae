"""Finds random operations in a loop's first turn that a resume cannot repeat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ckptkit.compat.tf_random import EagerOperations
from ckptkit.session.exactness import Exactness


class FirstTurn:
    """Watches the first turn of a loop for random operations that a resume cannot repeat.

    One turn is enough, because all turns run the same code, and watching slows down eager
    operations.

    Args:
        exactness: gets the operations that are found.
    """

    def __init__(self, exactness: Exactness) -> None:
        self._exactness = exactness
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
        self._exactness.drawn("the loop", operations.traced, traced=True)
        self._exactness.drawn("the loop", operations.eager, traced=False)

    def stop(self) -> None:
        """Stop watching, if a turn is being watched."""
        if self._stack is not None:
            self._stack.close()
