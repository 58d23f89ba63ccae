"""Reports to the launcher which error ended a training, and whether a restart may help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ckptkit.errors import CheckpointError, ConfigError, WorkerLost
from ckptkit.exit_codes import PERMANENT_ERRORS
from ckptkit.run.launcher_channel import Failure
from ckptkit.session.launcher_client import link

_LONGEST_MESSAGE = 2000


def may_restart(error: BaseException) -> bool:
    """Return whether a restart of the training may succeed after this error."""
    # Only ckptkit's own classes count: another library may also have a `ConfigError`.
    kinds = {cls.__name__ for cls in type(error).__mro__ if issubclass(cls, CheckpointError)}
    return not kinds & PERMANENT_ERRORS.keys()


def failure_of(error: BaseException | None) -> Failure | None:
    """Describe an exception for the launcher."""
    if error is None:
        return None
    # A file name in the message may not be valid Unicode.
    message = str(error)[:_LONGEST_MESSAGE].encode(errors="backslashreplace").decode()
    return Failure(error=type(error).__name__, message=message, restart=may_restart(error))


def error_of_first(failure: Failure, what: str) -> CheckpointError | WorkerLost:
    """Return the error with which a worker ends because the first one has failed. Pure.

    It is permanent if that of the first worker is: no worker may be started again then.

    Args:
        failure: the error of the first worker.
        what: what it could not do.
    """
    message = f"Worker 0 could not {what}: {failure.error}: {failure.message}"
    return WorkerLost(message) if failure.restart else ConfigError(message)


@contextmanager
def reports_failure() -> Iterator[None]:
    """Report an error in the block, which opens a run, to the launcher."""
    try:
        yield
    except Exception as error:
        if (client := link()) is not None:
            client.say(outcome="failed", failure=failure_of(error))
        raise
