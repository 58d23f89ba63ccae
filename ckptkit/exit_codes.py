"""Exit codes of the commands and of trainings, and the outcomes that are never restarted."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class ExitCode(IntEnum):
    """Meaning of an exit code, for all commands and for a training that `ckptkit run` starts."""

    OK = 0
    """The command did its work, or the training finished."""

    ERROR = 1
    """An error, or the answer "no"; `ckptkit run`: the crash budget is spent."""

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

    CONFIG = 78
    """The configuration is invalid, so a restart cannot help. `EX_CONFIG` of sysexits.h."""

    NO_PROGRESS = 93
    """The training was started several times, and its newest checkpoint did not advance."""

    INTERRUPTED = 130
    """Ctrl-C; the code that a shell shows for SIGINT."""


class ShellCode(IntEnum):
    """Exit codes of a program that could not be started, as shells define them."""

    NOT_EXECUTABLE = 126
    """The program exists and cannot be executed."""

    NOT_FOUND = 127
    """There is no such program."""


SIGNAL_BASE = 128
"""A shell reports a process that a signal ended as this number plus the signal's number."""

PERMANENT_CODES = frozenset({ExitCode.OK, ExitCode.CONFIG, ExitCode.NO_PROGRESS})
"""Exit codes of a training after which the launcher never starts it again."""

# By name: the launcher learns of an error from the training's channel or from its traceback, so it
# never has the class itself.
PERMANENT_ERRORS: Mapping[str, ExitCode] = MappingProxyType(
    {
        "ConfigError": ExitCode.CONFIG,
        "IncompatibleStateError": ExitCode.CONFIG,
        "RunLockedError": ExitCode.LOCKED,
    }
)
"""Errors that the next start would meet again, each with the exit code of the launcher."""
