"""The commands by name. Their modules are imported when they are called, or when help lists them."""

from __future__ import annotations

from importlib import import_module

import click

from ckptkit import __version__
from ckptkit.exit_codes import ExitCode

COMMANDS = {
    "run": "ckptkit.cli.run_command",
    "save": "ckptkit.cli.save_command",
    "stop": "ckptkit.cli.stop_command",
    "list": "ckptkit.cli.list_command",
    "history": "ckptkit.cli.history_command",
    "report": "ckptkit.cli.report_command",
    "show": "ckptkit.cli.show_command",
    "tensors": "ckptkit.cli.tensors_command",
    "diff": "ckptkit.cli.diff_command",
    "verify": "ckptkit.cli.verify_command",
    "prune": "ckptkit.cli.prune_command",
    "pin": "ckptkit.cli.pin_command",
    "unpin": "ckptkit.cli.unpin_command",
    "rollback": "ckptkit.cli.rollback_command",
    "export": "ckptkit.cli.export_command",
    "audit": "ckptkit.cli.audit_command",
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


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="ckptkit")
@click.pass_context
def group(context: click.Context) -> None:
    """Look at training runs and their checkpoints, and put them in order.

    RUN is a run directory: the one that was given to CheckpointCallback or CheckpointManager.
    """
    if context.invoked_subcommand is None:
        # Versions of click disagree on whether this is an error; here it is one, with help as its
        # message.
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.USAGE)
