"""The commands by name. Their modules are imported when they are called, or when help lists them."""

from __future__ import annotations

from importlib import import_module

import click

from ckptkit import __version__
from ckptkit.cli.exits import ExitCode

COMMANDS = {
    "run": "ckptkit.cli.run",
    "save": "ckptkit.cli.save",
    "stop": "ckptkit.cli.stop",
    "list": "ckptkit.cli.list",
    "history": "ckptkit.cli.history",
    "report": "ckptkit.cli.report",
    "show": "ckptkit.cli.show",
    "tensors": "ckptkit.cli.tensors",
    "diff": "ckptkit.cli.diff",
    "verify": "ckptkit.cli.verify",
    "prune": "ckptkit.cli.prune",
    "pin": "ckptkit.cli.pin",
    "unpin": "ckptkit.cli.unpin",
    "rollback": "ckptkit.cli.rollback",
    "export": "ckptkit.cli.export",
    "audit": "ckptkit.cli.audit",
}
"""Each module has its command under the name `command`; help shows them in this order."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = COMMANDS.get(cmd_name)
        if home is None:
            return None
        command = import_module(home).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...",
             context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ckptkit")
@click.pass_context
def group(context: click.Context) -> None:
    """Look at training runs and their checkpoints, and put them in order.

    RUN is a run directory: the one that was given to CheckpointCallback or CheckpointManager.
    """
    if context.invoked_subcommand is None:
        # Versions of click disagree on whether this is an error; here it is one, with help as its message.
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.USAGE)
