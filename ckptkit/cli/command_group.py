"""The group of all commands. It imports a command's file when it is called or listed by help."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from ckptkit import __version__
from ckptkit.cli.console import examples
from ckptkit.cli.plain_text import plain
from ckptkit.exit_codes import ExitCode

COMMANDS = {
    "run": "Start a training, supervise it, and restart it if that can help.",
    "save": "Let the running training save a checkpoint now.",
    "stop": "Let the running training save and end.",
    "list": "List a run and its checkpoints, or the runs and models in a directory.",
    "history": "List the attempts of a run, and show where the time went.",
    "report": "Write one HTML file that shows a run: time, attempts and checkpoints.",
    "watch": "Show the report in the browser, up to date while the run is training.",
    "show": "Describe a checkpoint, a model or weights.",
    "tensors": "List the tensors of a checkpoint, a model or weights.",
    "diff": "Compare two checkpoints, models or weights.",
    "verify": "Compare the files of checkpoints with what was written.",
    "prune": "Delete checkpoints by a keep policy, with a reason for each.",
    "pin": "Keep a checkpoint, whatever the keep policy says.",
    "unpin": "Let the keep policy decide about a checkpoint again.",
    "rollback": "Let the next start resume from an older checkpoint.",
    "adopt": "Let a new run continue what another system has saved.",
    "export": "Publish a checkpoint's model for serving.",
    "audit": "Prove that an interrupted training ends with the same bits.",
}
"""The names of all commands with their line in the help of `ckptkit`, in the order of that help.

To add a command, add it here and write `<name>_command.py`, which has the click command under the
name `command`. No other file of the package changes.
"""


class LazyGroup(click.Group):
    """A click group that imports a command's file only when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"ckptkit.cli.{cmd_name}_command").command
        assert isinstance(command, click.Command)
        command.short_help = COMMANDS[cmd_name]
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # click's own method imports every command for its line of help, which takes a second.
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=line)
            for name, line in COMMANDS.items()
            if name.startswith(incomplete)
        ] + options

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click's own method imports every command for its line of help.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        typed = args[0]
        if typed in COMMANDS or typed.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        similar = get_close_matches(typed.lower(), COMMANDS, n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
        raise click.UsageError(
            f"{plain(typed)!r} is not a command.{hint} `ckptkit --help` lists all commands.", ctx
        )


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "ckptkit list runs",
        "ckptkit run -- python train.py",
        'eval "$(_CKPTKIT_COMPLETE=bash_source ckptkit)"   # completion; also zsh_source',
    ),
)
@click.version_option(__version__, "-V", "--version", prog_name="ckptkit")
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
