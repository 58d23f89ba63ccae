"""Runs a command in a child process, whose death becomes an error message.

TensorFlow ends the process if numbers in a bundle are wrong on purpose: it checks its own use of
them, not the file. So commands that read files of strangers do it in a child.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from ckptkit.exit_codes import ExitCode

COMMANDS = frozenset({"show", "tensors", "diff", "verify", "export"})
"""The commands that read values of files that may come from strangers."""

_CRASHES = frozenset(
    {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP}
)
_PASSED_ON = frozenset({signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})
_FROM_THE_KERNEL = 0x80
"""`SI_KERNEL`, as for the terminal's Ctrl-C, which every process of the terminal gets by itself."""


def is_guarded(arguments: Sequence[str]) -> bool:
    """Return whether a command is to run in a child process."""
    return bool(arguments) and arguments[0] in COMMANDS and sys.platform == "linux"


def run_guarded(action: Callable[[], int]) -> int:
    """Run a command in a child process. Called before any thread is started.

    Args:
        action: the command; it returns its exit code.

    Returns:
        The exit code of the command. If a signal has ended it, the caller of this process sees the
        same signal; after a crash it is the code for damage, and a message says so.
    """
    parent = os.getpid()
    # The parent of this process may ignore it, and the kernel would then forget the child's end.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked before the fork: a signal in between would reach neither of the two.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _end_with(parent)
        _end(action)
    status = _wait(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if not os.WIFSIGNALED(status):
        return os.WEXITSTATUS(status)
    return _after_death(signal.Signals(os.WTERMSIG(status)))


def _end(action: Callable[[], int]) -> None:
    code = int(ExitCode.ERROR)
    try:
        code = action()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(ExitCode.ERROR)
    except BaseException:  # as Python itself would end
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue  # closed, or its reader is gone
        os._exit(code)


def _wait(child: int) -> int:
    """Wait for the child, and pass signals on to it; return its status."""
    while True:
        found = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if found.si_signo != signal.SIGCHLD:
            if found.si_code != _FROM_THE_KERNEL:
                os.kill(child, found.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status


def _after_death(by: signal.Signals) -> int:
    if by in _CRASHES:
        sys.stderr.write(
            f"ckptkit: TensorFlow has ended the process with {by.name} while it read this: a file "
            "is damaged or was forged. Nothing was changed. Do not load it in a program.\n"
        )
        return int(ExitCode.CORRUPT)
    if by == signal.SIGKILL:
        sys.stderr.write(
            "ckptkit: the process that read this was killed (SIGKILL), by the kernel if memory was "
            "short. Nothing was changed.\n"
        )
        return int(ExitCode.ERROR)
    signal.signal(by, signal.SIG_DFL)
    os.kill(os.getpid(), by)
    return 128 + by


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent (`PR_SET_PDEATHSIG` of prctl(2))."""
    import ctypes

    try:
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(int(ExitCode.ERROR))
