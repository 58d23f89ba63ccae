"""Exit codes of commands and trainings, and which of them are never restarted."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class ExitCode(IntEnum):
    """The exit codes of all commands, and of trainings that `ckptkit run` starts."""

    OK = 0
    """The command did its work, or the training finished."""

    ERROR = 1
    """An error, or the answer "no" to a question; for `ckptkit run`: the crash budget is spent."""

    USAGE = 2
    """The arguments of a command are invalid."""

    CORRUPT = 3
    """A checkpoint that the command needs is damaged."""

    NO_RUN = 10
    """The directory does not exist, or is not a run."""

    LOCKED = 11
    """Another process owns the run."""

    PREEMPTED = 75
    """The training saved and stopped; start it again. `EX_TEMPFAIL` of sysexits.h."""

    WORKER_LOST = 76
    """Another worker of the same job has ended, so all of them have to start again."""

    CONFIG = 78
    """The configuration is invalid, so a restart cannot help. `EX_CONFIG` of sysexits.h."""

    NO_PROGRESS = 93
    """The training was started several times, but its newest checkpoint did not advance."""

    INTERRUPTED = 130
    """Interrupted by Ctrl-C; the code that a shell shows for SIGINT."""


class ShellCode(IntEnum):
    """Exit codes that shells use for a program that could not be started."""

    NOT_EXECUTABLE = 126
    """The program exists but cannot be executed."""

    NOT_FOUND = 127
    """The program does not exist."""


SIGNAL_BASE = 128
"""The number that a shell adds to a signal's number to report a process that it ended."""

PERMANENT_CODES = frozenset({ExitCode.OK, ExitCode.CONFIG, ExitCode.NO_PROGRESS})
"""The exit codes of a training after which the launcher never restarts it."""

# By name, because the launcher knows an error only from the channel or from a traceback.
PERMANENT_ERRORS: Mapping[str, ExitCode] = MappingProxyType(
    {
        "ConfigError": ExitCode.CONFIG,
        "IncompatibleStateError": ExitCode.CONFIG,
        "RunLockedError": ExitCode.LOCKED,
    }
)
"""Errors that would happen again at the next start, each with the launcher's exit code."""
