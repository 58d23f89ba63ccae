"""All errors that ckptkit raises.

    CheckpointError
    ├── CheckpointNotFoundError   (also FileNotFoundError)
    ├── CorruptCheckpointError
    ├── IncompatibleStateError    (also ValueError)
    ├── BackgroundSaveError
    ├── RunLockedError
    ├── StorageError              (also OSError)
    ├── ExportError
    ├── ThreadRefusedError        (also RuntimeError)
    └── ConfigError               (also ValueError)

`Preempted` and `WorkerLost` are not among them: they are `SystemExit`, so that code does not catch
them by accident.
"""

from __future__ import annotations

from ckptkit.exit_codes import ExitCode
from ckptkit.printable_text import printable


class CheckpointError(Exception):
    """The root of all errors of this library; its text has no control characters.

    Example:
        >>> import ckptkit
        >>> try:
        ...     ckptkit.open_run("no/such/run")
        ... except ckptkit.CheckpointError as error:
        ...     print(type(error).__name__)
        CheckpointNotFoundError
    """

    def __init__(self, *args: object) -> None:
        # Messages quote names and files of strangers, and a traceback is shown on a terminal.
        super().__init__(*(printable(each) if isinstance(each, str) else each for each in args))


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A run does not exist, or has no such checkpoint."""


class CorruptCheckpointError(CheckpointError):
    """Files of a checkpoint are missing, damaged, or differ from its manifest.

    Args:
        message: the text for people.
        damage: the kind of damage in one word: `manifest`, `missing`, `size`, `digest`,
            `unreadable`, or `late` (a process committed it after it had lost the run).
        file: the name of the file, or empty if unknown.
    """

    def __init__(self, message: str = "", damage: str = "unreadable", file: str = "") -> None:
        super().__init__(message)
        self.damage = damage
        self.file = file


class IncompatibleStateError(CheckpointError, ValueError):
    """The program's state does not match the checkpoint; nothing was assigned."""


class BackgroundSaveError(CheckpointError):
    """A save on the background thread failed while training continued.

    Args:
        message: the text for people.
        cause: the original error. It is also `__cause__`, but Keras removes that from errors that
            pass through `fit`.
    """

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class RunLockedError(CheckpointError):
    """Another process owns this run."""


class StorageError(CheckpointError, OSError):
    """The file system refused an operation: no space, no permission, read-only."""


class ExportError(CheckpointError):
    """A model could not be published; no version was left behind."""


class ThreadRefusedError(CheckpointError, RuntimeError):
    """The system allows this process no further thread; see `ckptkit.threads`."""


class ConfigError(CheckpointError, ValueError):
    """An argument, or a combination of arguments, is invalid."""


class Preempted(SystemExit):
    """Training has stopped on request, with its state saved; the process ends with `code`.

    Args:
        exit_code: the process's exit code (75, `EX_TEMPFAIL` of sysexits.h, by default).
        step: the step from which the next start resumes, or None if nothing was saved.
    """

    def __init__(self, exit_code: int = ExitCode.PREEMPTED.value, step: int | None = None) -> None:
        super().__init__(exit_code)
        self.step = step


class WorkerLost(SystemExit):
    """Another worker of the same job has ended or answers no more, so this one cannot train on.

    The process ends with exit code 76. Start all workers again: the run resumes from its newest
    checkpoint.

    Args:
        message: who was lost, and what is known about it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(ExitCode.WORKER_LOST.value)
        self.message = printable(message)

    def __str__(self) -> str:
        return self.message
