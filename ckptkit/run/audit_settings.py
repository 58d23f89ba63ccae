"""Reads and writes what `ckptkit audit` tells a training: directories, extra saves, where to pause.

The audit names a file with the instructions in an environment variable, so the training's code
stays unchanged. Runs and exports of the training are written into the audit's directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from ckptkit.errors import ConfigError
from ckptkit.ownership.kernel_lock import read_small

ENVIRONMENT = "CKPTKIT_AUDIT"
"""The environment variable that names the file, for the training and its children."""

HELD = "held"
"""The phase of a training that pauses at a step until the audit interrupts it."""

INSTRUCTIONS_VERSION = 1
ELSEWHERE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class AuditInstructions:
    """The instructions of an audit for one start of a training.

    Args:
        home: the directory of this training in the audit.
        every: the number of steps between two extra checkpoints, which are saved and kept in
            addition to the code's; 0 spreads a few over the run, see `Spread`.
        hold_step: the step at which the training pauses; 0 for no pause.
        hold_run: the absolute path of the run in which it pauses; empty for the first run that
            reaches the step.
        hold: a file; the pause ends when the audit removes it.
        version: the version of this format.
    """

    home: str
    every: Annotated[int, msgspec.Meta(ge=0)] = 0
    hold_step: Annotated[int, msgspec.Meta(ge=0)] = 0
    hold_run: str = ""
    hold: str = ""
    version: int = INSTRUCTIONS_VERSION

    def own(self, path: Path) -> Path:
        """Return where to write instead of `path`.

        That is `path` itself if it is below `home`, else a path below `home`.
        """
        home, wanted = Path(os.path.realpath(self.home)), Path(os.path.realpath(path))
        return (
            path
            if wanted.is_relative_to(home)
            else home / ELSEWHERE / wanted.relative_to(wanted.anchor)
        )

    def found(self, path: Path) -> Path:
        """Return where to read: the training's copy of `path` if it exists, else `path` itself."""
        own = self.own(path)
        return own if own.exists() else path


def write_instructions(path: Path, instructions: AuditInstructions) -> None:
    """Write the instructions for a training that is about to start.

    Raises:
        OSError: If the system refuses.
    """
    path.write_bytes(msgspec.json.encode(instructions) + b"\n")


def instructions_of(environment: Mapping[str, str]) -> AuditInstructions | None:
    """Return the instructions for this process; None if no audit has started it.

    Raises:
        ConfigError: If they cannot be read. Without them the process might write into the user's
            run.
    """
    name = environment.get(ENVIRONMENT)
    if not name:
        return None
    try:
        instructions = msgspec.json.decode(read_small(Path(name)), type=AuditInstructions)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{ENVIRONMENT}={name} names a file with instructions of `ckptkit audit` that cannot "
            f"be read: {error}. Unset {ENVIRONMENT} to train outside of an audit."
        ) from error
    if instructions.version > INSTRUCTIONS_VERSION:
        raise ConfigError(
            f"{name} has version {instructions.version}; this ckptkit reads up to "
            f"{INSTRUCTIONS_VERSION}. Use the same version of ckptkit for the audit and the "
            "training."
        )
    return instructions
