"""The group of all commands. It imports a command's file when it is called or listed by help."""

from __future__ import annotations

from importlib import import_module

import click

from ckptkit import __version__
from ckptkit.exit_codes import ExitCode

COMMANDS = (
    "run",
    "save",
    "stop",
    "list",
    "history",
    "report",
    "show",
    "tensors",
    "diff",
    "verify",
    "prune",
    "pin",
    "unpin",
    "rollback",
    "adopt",
    "export",
    "audit",
)
"""The names of all commands, in the order in which help lists them.

To add a command, add its name here and write `<name>_command.py`, which has the click command under
the name `command`. No other file of the package changes.
"""


class LazyGroup(click.Group):
    """A click group that imports a command's file only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"ckptkit.cli.{cmd_name}_command").command
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="ckptkit")
@click.pass_context
def group(context: click.Context) -> None:
    """Look at training runs and their checkpoints, and manage them.

    RUN is a run directory: the one that was given to CheckpointCallback or CheckpointManager.
    """
    if context.invoked_subcommand is None:
        # Versions of click disagree on whether a call without a command is an error. Here it is
        # one, with the help as its message.
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.USAGE)
