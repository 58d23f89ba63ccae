"""Maps an error of a command to its exit code and its text."""

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
    """The named directory is not a run.

    This differs from a run without the requested checkpoint, which has another exit code.
    """


def exit_code(error: CheckpointError) -> ExitCode:
    """Return the code with which an error ends a command."""
    if isinstance(error, NoSuchRunError):
        return ExitCode.NO_RUN
    if isinstance(error, RunLockedError):
        return ExitCode.LOCKED
    if isinstance(error, CorruptCheckpointError):
        return ExitCode.CORRUPT
    if isinstance(error, ConfigError):
        # Not 78, which is for the launcher's configuration file: here the error is in the typed
        # arguments.
        return ExitCode.USAGE
    return ExitCode.ERROR


def message(error: CheckpointError) -> str:
    """Return an error's text for people, safe to print on a terminal.

    The text of an `OSError` comes without the number that Python puts before it.
    """
    strerror = getattr(error, "strerror", None)
    return "\n".join(plain(line) for line in str(strerror or error).splitlines())
