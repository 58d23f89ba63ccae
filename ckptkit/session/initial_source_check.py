"""Checks that a new run does not begin with weights from itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ckptkit.errors import ConfigError
from ckptkit.layout import RunLayout
from ckptkit.policies import WarmStart


def check_source_elsewhere(
    layout: RunLayout, given: WarmStart | Mapping[str, WarmStart] | None
) -> None:
    """Check that `init_from` does not name the run that it begins.

    `fresh` would move that source aside, and no later start could find it. Earlier checkpoints in
    `aside/` are a source as any other.

    Args:
        layout: the run.
        given: the option `init_from`.

    Raises:
        ConfigError: If it names the run, or a file of the run.
    """
    starts = given.values() if isinstance(given, Mapping) else [given] if given else []
    run = Path(os.path.realpath(layout.root))
    for start in starts:
        whole = os.fsdecode(start.source)
        named = whole if os.path.lexists(whole) else start.checkpoint[0]
        source = Path(os.path.realpath(named))
        if source.is_relative_to(run) and not source.is_relative_to(run / layout.aside.name):
            raise ConfigError(
                f"init_from names the run itself, {layout.root}. Expected weights from elsewhere, "
                f"because fresh= would move them away. Received: {os.fsdecode(start.source)!r}. "
                "Name another directory for the new run."
            )
