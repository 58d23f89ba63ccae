"""Checks that a run of several workers has no option that only one process alone can have."""

from __future__ import annotations

from ckptkit.errors import ConfigError
from ckptkit.run.adoption_request import requested_adoption
from ckptkit.run.checkpoint_catalog import list_names
from ckptkit.session.options import RunOptions


def check_job_options(options: RunOptions) -> None:
    """Check that no option was given that is not supported for several workers.

    Args:
        options: the options of the run.

    Raises:
        ConfigError: If one was.
    """
    if options.mirror is not None:
        raise ConfigError(
            "mirror= and the URL of an object store are not supported for several workers. Name a "
            "directory that worker 0 can write."
        )
    # Each worker would load from a disk of its own, after the comparison of their values.
    for name in ("init_from", "adopt"):
        if getattr(options, name) is not None:
            raise ConfigError(
                f"{name}= is not supported for several workers. Load the weights on all of them "
                "with ckptkit.load_weights before the run is opened."
            )


def check_no_request(options: RunOptions) -> None:
    """Check that no `ckptkit adopt` waits for this run, because only worker 0 could see it.

    Args:
        options: the options of the run.

    Raises:
        ConfigError: If one waits.
    """
    waits = requested_adoption(options.layout, options.files) is not None
    if waits and not list_names(options.layout):
        raise ConfigError(
            "`ckptkit adopt` is not supported for several workers. Delete "
            f"{options.layout.adoption} and load the weights on all of them with "
            "ckptkit.load_weights."
        )
