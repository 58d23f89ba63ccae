"""The `ckptkit` command line.

Each command has a file of its own, `<name>_command.py`, which is imported only when the command is
called, so that a start stays fast. `command_group.py` lists the commands.

No command imports TensorFlow unless it reads values or models. The readers (`list`, `show`,
`tensors`, `diff`, `verify`, `history`, `report`) take no lock and need no write permission.
Commands that remove or move checkpoints (`prune`, `rollback`) hold the run's lock while they work.
`error_codes.py` has the exit codes, and `docs/cli.md` describes every command and every `--json`
form.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

import click

import ckptkit
from ckptkit.cli.command_group import group
from ckptkit.cli.error_codes import exit_code, message
from ckptkit.cli.foreign_package import complaint_about
from ckptkit.cli.guarded_process import is_guarded, run_guarded
from ckptkit.cli.plain_text import plain
from ckptkit.errors import CheckpointError
from ckptkit.exit_codes import ExitCode

COMPLETE_VARIABLE = "_CKPTKIT_COMPLETE"
"""Is set by the shell's completion, and by users who print the script that installs it."""

_COLLECT_AFTER = 1_000_000
"""The number of new objects after which Python's garbage collector runs.

A long journal makes many objects and no cycles. Searching for cycles again and again would take
longer than reading it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the arguments after the program's name; by default those of this process. If
            they are not given, a command that reads files which may come from strangers runs in a
            child process (only on Linux).

    Returns:
        The exit code.
    """
    if (complaint := complaint_about(ckptkit)) is not None:
        return _complain(complaint, ExitCode.ERROR)
    if arguments is None and COMPLETE_VARIABLE in os.environ:
        from click.shell_completion import shell_complete

        from ckptkit.cli.completion import register_shells

        register_shells()
        return shell_complete(
            group, {}, "ckptkit", COMPLETE_VARIABLE, os.environ[COMPLETE_VARIABLE]
        )
    if arguments is None and is_guarded(sys.argv[1:]):
        return run_guarded(lambda: _main(None))
    return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # The terminal's encoding may lack characters of a name on disk. They are escaped, as
            # an error would hide everything else.
            stream.reconfigure(errors="backslashreplace")
    patience = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER, *patience[1:])
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader, such as `head` or a pager, has closed the pipe. Without this, Python would
        # report the error once more when it flushes at exit.
        _forget_output()
        return ExitCode.OK
    except OSError as error:
        _forget_output()
        where = plain(error.filename) if error.filename else "standard output"
        return _complain(
            f"Could not use {where}: {error.strerror or error}. Check its permissions and the "
            "free space.",
            ExitCode.ERROR,
        )
    finally:
        gc.set_threshold(*patience)
        if arguments is None:
            # The process is about to end: a last search through all objects would be wasted.
            gc.freeze()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        # Not group.main(), which ends with exit code 1 if a pipe is closed.
        with group.make_context(
            "ckptkit", [*(sys.argv[1:] if arguments is None else arguments)]
        ) as context:
            group.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CheckpointError as error:
        return _complain(message(error), exit_code(error))
    except (click.Abort, KeyboardInterrupt):
        return _complain("interrupted", ExitCode.INTERRUPTED)
    return ExitCode.OK


def _complain(text: str, code: int) -> int:
    click.echo(f"ckptkit: {text}", err=True)
    return code


def _forget_output() -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError, AttributeError):
        pass  # standard output was closed or replaced, so nothing can fail at exit
