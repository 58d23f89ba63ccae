"""Which exit code an error of a command leads to, and the error's text."""

from __future__ import annotations

from ckptkit.cli.plain_text import plain
from ckptkit.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    ConfigError,
    CorruptCheckpointError,
    RunLockedError,
)
from ckptkit.exit_codes import ExitCode


class NoSuchRunError(CheckpointNotFoundError):
    """What was named is no run at all; a run without the checkpoint that was asked for is another
    thing.
    """


def exit_code(error: CheckpointError) -> ExitCode:
    """The code with which an error ends a command."""
    if isinstance(error, NoSuchRunError):
        return ExitCode.NO_RUN
    if isinstance(error, RunLockedError):
        return ExitCode.LOCKED
    if isinstance(error, CorruptCheckpointError):
        return ExitCode.CORRUPT
    if isinstance(error, ConfigError):
        return ExitCode.USAGE  # in a command, what cannot be right is what was typed
    return ExitCode.ERROR


def message(error: CheckpointError) -> str:
    """An error's text for people, safe to show; without the number that Python puts before an
    `OSError`'s.
    """
    strerror = getattr(error, "strerror", None)
    return "\n".join(plain(line) for line in str(strerror or error).splitlines())
