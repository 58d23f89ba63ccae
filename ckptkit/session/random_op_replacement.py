"""Makes random draws in traced functions exact while a run is open, with `exact="replace"`."""

from __future__ import annotations

from contextlib import ExitStack

from ckptkit.compat.tf_random_replacement import ReplacedOperations
from ckptkit.session.options import RunOptions
from ckptkit.tracking.random_draws import draws


def replace_draws(options: RunOptions, resources: ExitStack) -> None:
    """Replace stateful random operations in functions that this thread traces, if that is wanted.

    Args:
        options: the options of the run.
        resources: ends the replacement when the run is closed. Functions that were traced until
            then keep the replaced operations.
    """
    # Also without `exact="replace"`: functions of an earlier run may have replaced operations.
    draws.note_seed()
    if options.exact == "replace":
        operations = ReplacedOperations(draws.next_seed)
        resources.callback(operations.end)
        operations.begin()
