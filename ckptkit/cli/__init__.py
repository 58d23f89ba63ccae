"""The `ckptkit` command: one command a file, imported only when it is called, so that a start stays
fast.

None of these imports TensorFlow by itself. The readers (`list`, `show`, `tensors`, `diff`,
`verify`) take no lock and need no write permission; what takes a checkpoint away (`prune`,
`rollback`) holds the run for as long as it works. Exit codes are in `exits.py`, and `docs/cli.md`
describes every command and every `--json` form.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

import click

from ckptkit.cli.command_group import group
from ckptkit.cli.error_codes import exit_code, message
from ckptkit.cli.plain_text import plain
from ckptkit.errors import CheckpointError
from ckptkit.exit_codes import ExitCode

_COLLECT_AFTER = 1_000_000
"""New objects after which Python looks for cycles: a long journal has none, and to look through it
again and again takes longer than to read it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: what follows the program's name; by default that of this process.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A name on disk need not be spellable in the terminal's encoding; that is no reason to
            # show nothing.
            stream.reconfigure(errors="backslashreplace")
    patience = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER, *patience[1:])
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader (`head`, a pager) has seen enough. Python would complain once more when it
        # flushes at exit.
        _forget_output()
        return ExitCode.OK
    except OSError as error:
        _forget_output()
        where = plain(error.filename) if error.filename else "standard output"
        return _complain(f"Could not use {where}: {error.strerror or error}.", ExitCode.ERROR)
    finally:
        gc.set_threshold(*patience)
        if arguments is None:
            gc.freeze()  # the process is about to end, and need not look through all that once more


def _run(arguments: Sequence[str] | None) -> int:
    try:
        # Not group.main(), which ends with exit code 1 where a pipe is closed.
        # And not list(...): once its module is imported, `list` is the command's here.
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
        pass  # there is no standard output that could complain
