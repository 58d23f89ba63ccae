"""Every error that ckptkit raises.

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

`Preempted` stands apart: it is a `SystemExit`, so that nothing catches it by accident.
"""

from __future__ import annotations

from ckptkit.exit_codes import ExitCode


class CheckpointError(Exception):
    """The root of all errors of this library.

    Example:
        >>> import ckptkit
        >>> try:
        ...     ckptkit.open_run("no/such/run")
        ... except ckptkit.CheckpointError as error:
        ...     print(type(error).__name__)
        CheckpointNotFoundError
    """


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no run, or no such checkpoint in it."""


class CorruptCheckpointError(CheckpointError):
    """Files of a checkpoint are missing, damaged or not what its manifest says.

    Args:
        message: what is said.
        damage: the kind of damage in one word: `manifest`, `missing`, `size`, `digest`,
            `unreadable`, or `late` (it came from a process that had lost the run).
        file: which file, or empty where that is not known.
    """

    def __init__(self, message: str = "", damage: str = "unreadable", file: str = "") -> None:
        super().__init__(message)
        self.damage = damage
        self.file = file


class IncompatibleStateError(CheckpointError, ValueError):
    """The state in the program has another form than the checkpoint's; nothing was assigned."""


class BackgroundSaveError(CheckpointError):
    """A save failed after the training thread had gone on.

    Args:
        message: what is said.
        cause: what went wrong; it is `__cause__` too, which Keras takes off an error that passes
            through `fit`.
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
    """An argument or a combination of them that cannot be right."""


class Preempted(SystemExit):
    """Training was asked to stop, and its state is saved; the process ends with `code`.

    Args:
        exit_code: the process's exit code (75, `EX_TEMPFAIL` of sysexits.h, by default).
        step: the step that the next start goes on from, or None where nothing was saved.
    """

    def __init__(self, exit_code: int = ExitCode.PREEMPTED.value, step: int | None = None) -> None:
        super().__init__(exit_code)
        self.step = step
